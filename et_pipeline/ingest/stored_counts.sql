-- name: stored_counts
SELECT snapshot_id, count(*) AS n FROM reports WHERE batch >= {first} GROUP BY snapshot_id
