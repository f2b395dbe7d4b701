-- Cells of experiments that compare all trades of both arms, without pairs.

-- name: stale_trades
-- The cells of an experiment's gathered reports, and of the reports that a conflict removed again.
SELECT DISTINCT g.experiment_id, {block_gathered} AS block, g.market_id
FROM (
    SELECT experiment_id, emitted_at, market_id FROM gathered WHERE {inside}
    UNION ALL
    SELECT a.experiment_id, d.emitted_at, d.market_id
    FROM displaced AS d
    INNER JOIN arms AS a
        ON d.strategy_id = a.strategy_id AND d.mode = a.mode
        AND (a.config_version IS NULL OR d.config_version = a.config_version)
    WHERE a.{inside} AND d.batch > {after}
) AS g
INNER JOIN terms AS t ON t.experiment_id = g.experiment_id

-- name: trades
-- The trades that count: reports of an arm, inside the window, that no later report of the same opportunity replaces.
-- The control's trades from before the window, over a time as long as the window, are an arm of their own: {before}.
SELECT
    a.experiment_id, CASE WHEN r.emitted_at < t.starts_at THEN '{before}' ELSE a.arm END AS arm, {block} AS block, r.market_id, {metrics}
FROM reports AS r
INNER JOIN arms AS a
    ON r.strategy_id = a.strategy_id AND r.mode = a.mode
    AND (a.config_version IS NULL OR r.config_version = a.config_version)
INNER JOIN terms AS t ON t.experiment_id = a.experiment_id
WHERE
    t.matching = 'arms' AND {span}
    AND coalesce(r.decision, 'traded') = 'traded' AND r.emitted_at < t.ends_at
    AND (r.emitted_at >= t.starts_at OR (a.arm = 'control' AND r.emitted_at >= t.before_from))
    AND NOT EXISTS (
        SELECT 1 FROM unmatched AS u
        WHERE
            u.experiment_id = a.experiment_id AND u.arm = a.arm AND u.report_id = r.report_id
            AND u.reason = 'superseded'
    )
    AND NOT EXISTS (
        SELECT 1 FROM unmatched AS u
        WHERE
            u.experiment_id = a.experiment_id AND u.arm = a.arm AND u.reason = 'too_early'
            AND r.emitted_at < t.starts_at
            AND u.opportunity_key = r.opportunity_key AND u.correlation_id = r.correlation_id
            AND (u.emitted_at > r.emitted_at OR (u.emitted_at = r.emitted_at AND u.report_id > r.report_id))
    )

-- name: trades_of_cells
-- The trades of the stale cells, with the columns that the metrics need.
SELECT s.cell, p.arm, {columns}
FROM ({trades}) AS p
INNER JOIN stale AS s
    ON s.experiment_id = p.experiment_id AND s.block = p.block AND s.market_id = p.market_id
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id

-- name: cells_of_trades
-- One metric's cells: for each arm the number of trades with a value, the sum of their values (or numerators), and
-- again their number (or the sum of denominators). Decimals add up exactly, in any order. Single trades have no uplift.
SELECT
    c.experiment_id, m.metric, c.block, c.market_id,
    g.n_control + g.n_variant AS n, CAST(NULL AS DOUBLE) AS sum, CAST(NULL AS DOUBLE) AS sum_squares,
    CAST(NULL AS DOUBLE) AS m2, CAST(NULL AS BIGINT) AS wins, g.winsorised,
    g.numerator_control, g.denominator_control, g.numerator_variant, g.denominator_variant,
    '{comparison}' AS comparison, g.n_control, g.n_variant{more}
FROM {stale} AS c
INNER JOIN experiment_metrics AS m ON m.experiment_id = c.experiment_id AND m.metric = '{metric}'
INNER JOIN (
    SELECT
        cell, CAST(sum(touched) AS BIGINT) AS winsorised,
        {totals}
    FROM (
        SELECT p.cell, p.arm, {numerator} AS numerator, {denominator} AS denominator, {touched} AS touched
        FROM {trades} AS p
        WHERE {valued} AND p.arm IN ('{control}', '{variant}')
    ) AS valued
    GROUP BY cell
) AS g ON g.cell = c.cell

-- name: trades_without_value
-- The number of trades in each stale cell that have no value of one metric, see `missing_values`.
SELECT c.experiment_id, m.metric, c.block, c.market_id, g.control + g.variant AS pairs, g.control, g.variant
FROM stale AS c
INNER JOIN experiment_metrics AS m ON m.experiment_id = c.experiment_id AND m.metric = '{metric}'
INNER JOIN (
    SELECT
        p.cell,
        CAST(sum(CASE WHEN p.arm = 'control' THEN 1 ELSE 0 END) AS BIGINT) AS control,
        CAST(sum(CASE WHEN p.arm = 'variant' THEN 1 ELSE 0 END) AS BIGINT) AS variant
    FROM stale_trades AS p
    WHERE {missing} AND p.arm IN ('control', 'variant')
    GROUP BY p.cell
) AS g ON g.cell = c.cell
