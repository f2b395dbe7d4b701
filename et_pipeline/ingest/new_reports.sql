SELECT * FROM reports WHERE batch >= {first} LIMIT {rows}
