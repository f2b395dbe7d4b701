-- The reports that count: what was stored, without what a conflict took out again.
SELECT r.*
FROM stored_reports AS r
WHERE NOT EXISTS (
    SELECT 1 FROM displaced AS d WHERE d.report_id = r.report_id AND d.batch > r.batch
)
