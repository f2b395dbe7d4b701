-- name: pairs
-- A control with the variant's report that was matched to it, and with the replayed control if there is one. If the
-- plan counts passes, a control for which the variant passed is a pair too, then possibly without a report of the
-- variant. The pair's time is the control's.
SELECT
    p.experiment_id, p.pair_time, {block} AS block,
    p.market_id, p.outcome_id, p.side, p.correlation_id, p.control_report_id, p.variant_report_id,
    {uplifts},
    p.opportunity_key, p.candidates,
    CASE WHEN p.control_decision = 'passed' THEN 'control' WHEN p.variant_decision = 'passed' THEN 'variant' END AS passed,
    p.replay_report_id,
    {replays},
    CASE WHEN t.on_no_trade <> 'exclude' THEN p.replay_decision = 'passed' END AS replay_passed
FROM (
    SELECT
        c.experiment_id, c.emitted_at AS pair_time, c.market_id, c.outcome_id, c.side, c.correlation_id,
        c.report_id AS control_report_id, v.report_id AS variant_report_id,
        c.decision AS control_decision, v.decision AS variant_decision,
        r.report_id AS replay_report_id, r.decision AS replay_decision,
        {values},
        c.opportunity_key, {candidates} AS candidates
    FROM controls AS c
    {partner}
    {replayed}
) AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE {paired}
