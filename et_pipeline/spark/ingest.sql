-- Ingest on a cluster: from the rows that the workers read to the reports that count.

-- name: arrivals
-- The reports that the workers read, only from files that could be read completely.
SELECT {columns}
FROM readings AS r
INNER JOIN offsets AS o ON o.snapshot_id = r.snapshot_id AND o.part = r.part
WHERE r.what = '{what}'

-- name: bad
-- The lines for quarantine.
SELECT r.snapshot_id, r.line + o.lines_before AS line, r.reason, r.sentence, r.raw
FROM readings AS r
INNER JOIN offsets AS o ON o.snapshot_id = r.snapshot_id AND o.part = r.part
WHERE r.what = 'bad'

-- name: repeated
-- Keys of arrivals that another arrival or a stored report has too.
SELECT report_key FROM arrivals GROUP BY report_key HAVING count(*) > 1
UNION
SELECT report_key FROM reports WHERE report_key IN (SELECT report_key FROM arrivals)

-- name: contested
-- All reports with one of these keys: stored (0), lost a conflict before (1), arrived (2).
WITH stored AS (
    SELECT {columns} FROM reports WHERE report_key IN (SELECT report_key FROM repeated)
),
arrived AS (
    SELECT {columns} FROM arrivals WHERE report_key IN (SELECT report_key FROM repeated)
)
SELECT {columns}, 0 AS source FROM stored
UNION ALL
SELECT {lost}, 1 AS source
FROM lost AS l
INNER JOIN (SELECT DISTINCT report_id, report_key FROM arrived) AS k ON k.report_id = l.report_id
UNION ALL
SELECT {columns}, 2 AS source FROM arrived

-- name: kept
-- The reports of a batch, by day.
SELECT {columns}, CAST(CAST(emitted_at AS DATE) AS VARCHAR) AS day
FROM (
    SELECT {columns} FROM arrivals AS a
    WHERE NOT EXISTS (SELECT 1 FROM repeated AS r WHERE r.report_key = a.report_key)
    UNION ALL
    SELECT {columns} FROM judged WHERE fate = 'kept'
) AS kept

-- name: lost
-- Contents that lost a conflict before.
SELECT DISTINCT report_id, content_hash FROM quarantine WHERE reason = 'conflict'
