-- name: terms
-- One row per experiment: the terms of its plan that are needed to make its pairs and cells.
SELECT
    e.experiment_id, e.mode, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade, e.matching,
    e.starts_at - (e.ends_at - e.starts_at) AS before_from,
    -- In blocks before this one, a control without a report of the variant means that the variant passed.
    CASE
        WHEN e.on_no_trade = 'assume_zero'
            THEN make_timestamp(epoch_us(max(a.variant_until)) // e.time_block_us * e.time_block_us)
    END AS assumed_before,
    {limits}
FROM experiments AS e
LEFT JOIN experiment_metrics AS m ON m.experiment_id = e.experiment_id
LEFT JOIN arm_progress AS a ON a.experiment_id = e.experiment_id
WHERE e.experiment_id IN (SELECT experiment_id FROM chosen)
GROUP BY e.experiment_id, e.mode, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade, e.matching

-- name: planned
SELECT DISTINCT metric FROM experiment_metrics
WHERE experiment_id IN (SELECT experiment_id FROM chosen)
ORDER BY metric

-- name: replayed
-- Whether the control of any of the chosen experiments was replayed.
SELECT count(*) > 0 FROM arm_progress
WHERE replay_until IS NOT NULL AND experiment_id IN (SELECT experiment_id FROM chosen)

-- name: arms
-- One row per experiment and arm: which reports belong to it. A shadow variant's reports are replays, and there the
-- backtester may replay the control too: the arm `replay`.
WITH watched AS (
    SELECT * FROM experiments WHERE experiment_id IN (SELECT experiment_id FROM chosen)
)
SELECT
    experiment_id, 'control' AS arm, control_strategy_id AS strategy_id, control_config_version AS config_version,
    'live' AS mode
FROM watched
UNION ALL
SELECT
    experiment_id, 'variant', variant_strategy_id, variant_config_version,
    CASE WHEN mode = 'shadow' THEN 'replay' ELSE 'live' END
FROM watched
UNION ALL
SELECT experiment_id, 'replay', control_strategy_id, control_config_version, 'replay'
FROM watched
WHERE mode = 'shadow'

-- name: touched
-- The opportunities with a new report, or with a report that a conflict removed again.
SELECT DISTINCT a.experiment_id, n.opportunity_key
FROM (
    SELECT strategy_id, config_version, mode, opportunity_key, batch FROM reports WHERE batch > {after}
    UNION ALL
    SELECT strategy_id, config_version, mode, opportunity_key, batch FROM displaced WHERE batch > {after}
) AS n
INNER JOIN arms AS a
    ON n.strategy_id = a.strategy_id AND n.mode = a.mode
    AND (a.config_version IS NULL OR n.config_version = a.config_version)
INNER JOIN behind AS b ON b.experiment_id = a.experiment_id AND n.batch > b.batch

-- name: gather
-- The arms' reports of the opportunities in scope; `outside` says why a report is not in its experiment's window.
SELECT
    a.experiment_id, a.arm,
    CASE
        WHEN r.emitted_at < t.starts_at THEN 'too_early'
        WHEN r.emitted_at >= t.ends_at THEN 'after_end'
    END AS outside,
    coalesce(r.decision, 'traded') AS decision,
    r.report_id, r.emitted_at, coalesce(r.emitted_below_us, 0) AS emitted_below_us, r.correlation_id, r.market_id, r.outcome_id, r.side, r.opportunity_key,
    {metrics}
FROM {reports} AS r
INNER JOIN arms AS a
    ON r.strategy_id = a.strategy_id AND r.mode = a.mode
    AND (a.config_version IS NULL OR r.config_version = a.config_version)
INNER JOIN terms AS t ON t.experiment_id = a.experiment_id
WHERE {scope}

-- name: superseded
-- Reports of an arm that a later report of the same opportunity replaces: the last one by (emitted_at,
-- emitted_below_us, report_id) counts. A control outside the window never replaces one inside it.
-- Few opportunities have more than one report of an arm, so only the reports of these are sorted.
SELECT experiment_id, arm, report_id, opportunity_key
FROM (
    SELECT
        g.experiment_id, g.arm, g.report_id, g.opportunity_key,
        row_number() OVER (
            PARTITION BY
                g.experiment_id, g.arm, {inside}, g.opportunity_key,
                g.correlation_id, g.market_id, g.outcome_id, g.side
            ORDER BY g.emitted_at DESC, g.emitted_below_us DESC, g.report_id DESC
        ) AS place
    FROM gathered AS g
    WHERE (g.experiment_id, g.arm, g.opportunity_key) IN (
        SELECT experiment_id, arm, opportunity_key FROM gathered
        GROUP BY experiment_id, arm, opportunity_key
        HAVING count(*) > 1
    )
) AS ranked
WHERE place > 1

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
