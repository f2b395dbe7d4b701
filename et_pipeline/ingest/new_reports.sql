-- name: new_reports
SELECT * FROM reports WHERE batch >= {first} LIMIT {rows}
