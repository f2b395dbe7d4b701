-- The reports of a batch, by day.
SELECT {columns}, CAST(CAST(emitted_at AS DATE) AS VARCHAR) AS day
FROM (
    SELECT {columns} FROM arrivals AS a
    WHERE NOT EXISTS (SELECT 1 FROM repeated AS r WHERE r.report_key = a.report_key)
    UNION ALL
    SELECT {columns} FROM judged WHERE fate = 'kept'
) AS kept
