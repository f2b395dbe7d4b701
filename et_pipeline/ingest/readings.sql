-- name: readings
-- The latest reading of every path: what is known of the files in the bus.
SELECT path, size, mtime_ns, content_hash, revision, snapshot_id
FROM snapshots
QUALIFY row_number() OVER (PARTITION BY path ORDER BY revision DESC) = 1
