-- name: nearest_unmatched
-- The reports that count and found no partner within the tolerance.
SELECT
    u.experiment_id, u.arm, u.reason, u.report_id, u.emitted_at, {block} AS block,
    u.market_id, u.outcome_id, u.side, u.correlation_id, u.opportunity_key, u.emitted_at AS opportunity_at
FROM (
    SELECT c.*, 'no_variant' AS reason
    FROM controls AS c
    WHERE NOT EXISTS (SELECT 1 FROM matches AS m WHERE m.control_report_id = c.report_id)
    UNION ALL
    SELECT v.*, 'no_control' AS reason
    FROM variants AS v
    WHERE NOT EXISTS (SELECT 1 FROM matches AS m WHERE m.variant_report_id = v.report_id)
) AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id
