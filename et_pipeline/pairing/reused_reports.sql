-- name: reused_reports
-- Reports that stand in more than one pair of an experiment. Pairs with a report in common belong to one
-- opportunity or one segment, so they are written together: looking where something changed is enough.
WITH changed AS (
    SELECT experiment_id, control_report_id, variant_report_id FROM pairs
    WHERE (experiment_id, block, market_id) IN (SELECT experiment_id, block, market_id FROM stale_cells)
)
SELECT experiment_id, report_id
FROM (
    SELECT experiment_id, control_report_id AS report_id FROM changed
    UNION ALL
    SELECT experiment_id, variant_report_id FROM changed WHERE variant_report_id IS NOT NULL
) AS used
GROUP BY experiment_id, report_id
HAVING count(*) > 1
ORDER BY experiment_id, report_id
LIMIT 20
