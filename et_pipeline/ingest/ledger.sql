-- name: readings
-- The latest reading of every path of the bus.
SELECT path, size, mtime_ns, content_hash, revision, snapshot_id
FROM snapshots
QUALIFY row_number() OVER (PARTITION BY path ORDER BY revision DESC) = 1

-- name: supersede
-- For a file that was read again, its refused and skipped lines count only in the latest reading, whatever became of
-- them there; in earlier readings they become repetitions. Conflicts stay as they are, since they are known by their
-- content.
CREATE OR REPLACE TEMP TABLE read_again AS
SELECT s.snapshot_id, coalesce(refused.n, 0) AS refused
FROM (
    SELECT snapshot_id, skipped FROM snapshots QUALIFY revision < max(revision) OVER (PARTITION BY path)
) AS s
LEFT JOIN (
    SELECT snapshot_id, count(*) AS n FROM quarantine WHERE reason <> 'conflict' GROUP BY snapshot_id
) AS refused USING (snapshot_id)
WHERE s.skipped > 0 OR refused.n > 0;

UPDATE snapshots AS s
SET duplicates = s.duplicates + s.skipped + r.refused, quarantined = s.quarantined - r.refused, skipped = 0
FROM read_again AS r
WHERE s.snapshot_id = r.snapshot_id;

DELETE FROM quarantine WHERE reason <> 'conflict' AND snapshot_id IN (SELECT snapshot_id FROM read_again);

DELETE FROM skipped WHERE snapshot_id IN (SELECT snapshot_id FROM read_again);

DROP TABLE read_again;
