-- name: parquet_values
-- The largest number of values of any column of a Parquet file: in total, and in one row group.
SELECT coalesce(max(of_column), 0)::BIGINT, coalesce(max(of_group), 0)::BIGINT
FROM (
    SELECT
        sum(num_values) OVER (PARTITION BY path_in_schema) AS of_column,
        num_values AS of_group
    FROM parquet_metadata($path)
)
