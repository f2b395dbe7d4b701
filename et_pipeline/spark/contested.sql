-- Everything that shares its key with another report: stored (0), lost before (1), arrived (2).
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
