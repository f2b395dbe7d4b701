-- A control with the variant's answer to the same opportunity; where the plan says so, with a variant that
-- passed on it. The pair's time is the control's.
SELECT
    p.experiment_id, p.pair_time, {block} AS block,
    p.market_id, p.outcome_id, p.side, p.correlation_id, p.control_report_id, p.variant_report_id,
    {uplifts},
    p.opportunity_key, p.candidates
FROM (
    SELECT
        c.experiment_id, c.emitted_at AS pair_time, c.market_id, c.outcome_id, c.side, c.correlation_id,
        c.report_id AS control_report_id, v.report_id AS variant_report_id,
        {both_arms},
        c.opportunity_key, CASE WHEN v.report_id IS NULL THEN 0 ELSE 1 END AS candidates
    FROM controls AS c
    LEFT JOIN variants AS v
        ON v.experiment_id = c.experiment_id AND v.opportunity_key = c.opportunity_key
        AND v.correlation_id = c.correlation_id AND v.market_id = c.market_id
        AND v.outcome_id = c.outcome_id AND v.side = c.side
) AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE p.variant_report_id IS NOT NULL OR t.on_no_trade = 'zero'
