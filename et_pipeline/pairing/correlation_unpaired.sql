-- name: correlation_unpaired
-- The opportunities that make no pair although the control's report counts, with the reason.
SELECT
    p.*,
    CASE
        WHEN p.variant_decision IS NULL AND p.control_decision = 'passed' THEN 'passed'
        WHEN p.variant_decision IS NULL AND t.on_no_trade = 'exclude' THEN 'no_variant'
        WHEN p.variant_decision IS NULL THEN 'not_replayed'
        WHEN p.variant_decision = 'traded' THEN 'control_passed'
        WHEN p.control_decision = 'traded' THEN 'variant_passed'
        ELSE 'both_passed'
    END AS reason
FROM (
    SELECT
        c.experiment_id, c.emitted_at AS pair_time, c.market_id, c.outcome_id, c.side, c.correlation_id,
        c.opportunity_key, c.report_id AS control_report_id, v.report_id AS variant_report_id,
        v.emitted_at AS variant_time, c.decision AS control_decision, v.decision AS variant_decision
    FROM controls AS c
    {partner}
) AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE NOT {paired}
