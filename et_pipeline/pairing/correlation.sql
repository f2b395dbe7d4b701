-- name: correlation_unpaired
-- The opportunities that are not a pair although the control's report counts, with the reason.
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
        v.emitted_at AS variant_time, c.decision AS control_decision, v.decision AS variant_decision,
        r.report_id AS replay_report_id, r.emitted_at AS replay_time
    FROM controls AS c
    {partner}
    {replayed}
) AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE NOT {paired}

-- name: correlation_unmatched
-- Every report of the experiment's arms that is in no pair, with the reason. Whether a control is in the window depends
-- on its own time. For another arm's report it depends on its opportunity's control, or without one on its own time.
WITH without_control AS (
    SELECT v.*
    FROM (SELECT * FROM variants UNION ALL SELECT * FROM replayed_controls) AS v
    WHERE NOT EXISTS (
        SELECT 1 FROM controls AS c
        WHERE c.experiment_id = v.experiment_id AND c.opportunity_key = v.opportunity_key
            AND c.correlation_id = v.correlation_id AND c.market_id = v.market_id
            AND c.outcome_id = v.outcome_id AND c.side = v.side
    )
),
homes AS (
    SELECT
        experiment_id, opportunity_key, correlation_id, market_id, outcome_id, side, max(emitted_at) AS moment
    FROM gathered
    WHERE arm = 'control' AND outside IS NOT NULL
        AND opportunity_key IN (SELECT opportunity_key FROM without_control)
    GROUP BY experiment_id, opportunity_key, correlation_id, market_id, outcome_id, side
),
reasons AS (
    SELECT
        experiment_id, 'control' AS arm, reason, control_report_id AS report_id, pair_time AS emitted_at,
        market_id, outcome_id, side, correlation_id, opportunity_key, pair_time AS opportunity_at
    FROM unpaired
    UNION ALL
    SELECT
        experiment_id, 'variant', reason, variant_report_id, variant_time,
        market_id, outcome_id, side, correlation_id, opportunity_key, pair_time
    FROM unpaired
    WHERE variant_report_id IS NOT NULL
    UNION ALL
    SELECT
        experiment_id, 'replay', reason, replay_report_id, replay_time,
        market_id, outcome_id, side, correlation_id, opportunity_key, pair_time
    FROM unpaired
    WHERE replay_report_id IS NOT NULL
    UNION ALL
    SELECT
        v.experiment_id, v.arm,
        CASE
            WHEN h.moment < t.starts_at THEN 'too_early'
            WHEN h.moment >= t.ends_at THEN 'after_end'
            WHEN v.outside IS NOT NULL THEN v.outside
            ELSE 'no_control'
        END,
        v.report_id, v.emitted_at, v.market_id, v.outcome_id, v.side, v.correlation_id, v.opportunity_key,
        CASE WHEN h.moment IS NULL AND t.mode <> 'shadow' THEN v.emitted_at ELSE h.moment END
    FROM without_control AS v
    INNER JOIN terms AS t ON t.experiment_id = v.experiment_id
    LEFT JOIN homes AS h
        ON h.experiment_id = v.experiment_id AND h.opportunity_key = v.opportunity_key
        AND h.correlation_id = v.correlation_id AND h.market_id = v.market_id
        AND h.outcome_id = v.outcome_id AND h.side = v.side
    UNION ALL
    SELECT
        experiment_id, 'control', outside, report_id, emitted_at,
        market_id, outcome_id, side, correlation_id, opportunity_key, emitted_at
    FROM gathered
    WHERE arm = 'control' AND outside IS NOT NULL
    UNION ALL
    SELECT
        g.experiment_id, g.arm, 'superseded', g.report_id, g.emitted_at,
        g.market_id, g.outcome_id, g.side, g.correlation_id, g.opportunity_key,
        CASE WHEN g.arm = 'control' THEN g.emitted_at END
    FROM gathered AS g
    INNER JOIN superseded AS s
        ON s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
    WHERE {counts}
)
SELECT
    u.experiment_id, u.arm, u.reason, u.report_id, u.emitted_at, {block} AS block,
    u.market_id, u.outcome_id, u.side, u.correlation_id, u.opportunity_key, u.opportunity_at
FROM reasons AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id
