-- The data dictionary.

-- name: columns
-- Every column with its comment and the comment of its table, tables in the order of their creation. A view of a table
-- of series comes before that table.
WITH found AS (
    SELECT table_oid AS oid, table_name, comment, table_oid AS place FROM duckdb_tables()
    WHERE database_name = current_database() AND NOT internal
    UNION ALL
    SELECT v.view_oid, v.view_name, v.comment, t.table_oid - 0.5
    FROM duckdb_views() AS v
    JOIN duckdb_tables() AS t
        ON t.database_oid = v.database_oid AND t.table_name = regexp_extract(v.sql, ' FROM \(?(\w+)', 1)
    WHERE v.database_name = current_database() AND NOT v.internal
)
SELECT f.table_name, f.comment, c.column_name, c.data_type, c.comment
FROM duckdb_columns() AS c
JOIN found AS f ON f.oid = c.table_oid AND c.database_name = current_database()
ORDER BY f.table_name = 'schema_version', f.place, c.column_index
