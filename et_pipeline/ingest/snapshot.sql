INSERT INTO snapshots BY NAME
SELECT $path AS path, $size AS size, $mtime_ns AS mtime_ns, $content_hash AS content_hash,
       $ingested_at::TIMESTAMP AS ingested_at, $lines AS lines, $reports AS reports, $duplicates AS duplicates,
       $skipped AS skipped, $quarantined AS quarantined, $snapshot_id AS snapshot_id, $revision AS revision,
       $changed AS changed, $batch AS batch
