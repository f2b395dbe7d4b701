-- name: unbalanced
-- Readings of snapshots whose lines are not all in exactly one place. The sum of counts is checked for every reading;
-- the rows themselves are counted only for new readings.
WITH
refused AS (SELECT snapshot_id, count(*) AS n FROM quarantine GROUP BY ALL),
passed AS (SELECT snapshot_id, sum(lines) AS n FROM skipped GROUP BY ALL),
early AS (SELECT snapshot_id, count(*) AS n FROM early_reports GROUP BY ALL)
SELECT s.path, s.revision,
       format('{{}} lines, but {{}} reports ({{}} stored), {{}} duplicates, {{}} skipped ({{}} noted), {{}} quarantined ({{}} kept), '
              '{{}} waiting ({{}} kept)',
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

-- name: stored_counts
SELECT snapshot_id, count(*) AS n FROM reports WHERE batch >= {first} GROUP BY snapshot_id

-- name: new_reports
SELECT * FROM reports WHERE batch >= {first} LIMIT {rows}

-- name: repeated_ids
-- Report ids that exist more than once, where at least one of the reports is new. Keys are compared first, since they
-- are numbers.
WITH repeated AS (
    SELECT report_key
    FROM reports
    WHERE report_key IN (SELECT report_key FROM reports WHERE batch >= {first})
    GROUP BY report_key
    HAVING count(*) > 1
)
SELECT report_id, count(*) AS times
FROM reports
WHERE report_key IN (SELECT report_key FROM repeated)
GROUP BY report_id
HAVING count(*) > 1
ORDER BY report_id

-- name: waiting
-- The emitters whose reports wait since their time is ahead of the clock.
SELECT bot_id, count(*) AS lines, min(emitted_at) AS first_due, max(emitted_at) AS last_due
FROM early_reports
GROUP BY bot_id
ORDER BY bot_id
