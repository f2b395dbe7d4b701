-- name: unbalanced
-- Readings of snapshots whose lines are not all in exactly one place. The sum is checked for every reading,
-- the rows themselves are counted for what is new.
WITH
refused AS (SELECT snapshot_id, count(*) AS n FROM quarantine GROUP BY ALL),
passed AS (SELECT snapshot_id, sum(lines) AS n FROM skipped GROUP BY ALL),
early AS (SELECT snapshot_id, count(*) AS n FROM early_reports GROUP BY ALL)
SELECT s.path, s.revision,
       format('{} lines, but {} reports ({} stored), {} duplicates, {} skipped ({} noted), {} quarantined ({} kept), '
              '{} waiting ({} kept)',
              s.lines, s.reports, coalesce(stored.n, 0), s.duplicates, s.skipped, coalesce(passed.n, 0),
              s.quarantined, coalesce(refused.n, 0), s.waiting, coalesce(early.n, 0))
FROM snapshots s
LEFT JOIN stored_counts AS stored USING (snapshot_id)
LEFT JOIN refused USING (snapshot_id)
LEFT JOIN passed USING (snapshot_id)
LEFT JOIN early USING (snapshot_id)
WHERE s.lines <> s.reports + s.duplicates + s.skipped + s.quarantined + s.waiting
   OR s.waiting <> coalesce(early.n, 0)
   OR s.quarantined <> coalesce(refused.n, 0)
   OR s.skipped <> coalesce(passed.n, 0)
   OR (s.batch >= $first AND s.reports <> coalesce(stored.n, 0))
ORDER BY s.path, s.revision
