-- The data dictionary.

-- name: columns
-- Every column with the comments on it and on its table, tables in the order of their creation.
SELECT t.table_name, t.comment, c.column_name, c.data_type, c.comment
FROM duckdb_columns() AS c
JOIN duckdb_tables() AS t ON t.table_oid = c.table_oid AND t.database_oid = c.database_oid
WHERE t.database_name = current_database() AND NOT t.internal
ORDER BY t.table_name = 'schema_version', t.table_oid, c.column_index
