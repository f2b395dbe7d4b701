-- name: counting
-- The reports of one arm that count, one for each opportunity.
SELECT g.*
FROM gathered AS g
WHERE
    g.arm = '{arm}' AND {counts}
    AND NOT EXISTS (
        SELECT 1 FROM superseded AS s
        WHERE s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
    )
