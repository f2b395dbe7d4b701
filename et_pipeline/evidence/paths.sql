-- name: other_series
-- The series of some experiments other than the uplift that have cells or had some before.
SELECT experiment_id, comparison, metric FROM series_cells
WHERE comparison NOT IN ('{uplift}', '{before}') AND {inside}
UNION
SELECT experiment_id, comparison, metric FROM series_intervals WHERE comparison <> '{uplift}' AND {inside}

-- name: cells_of_series
-- Cells of one series, in time order; markets are numbered 0, 1, … in the order of their names.
WITH chosen AS (
    SELECT * FROM series_cells
    WHERE experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric
), codes AS (
    SELECT market_id, row_number() OVER (ORDER BY market_id) - 1 AS market
    FROM (SELECT DISTINCT market_id FROM chosen) AS markets
)
SELECT
    epoch_us(c.block) AS block, codes.market, c.n, c.sum, c.m2, c.wins, c.winsorised,
    c.numerator_control, c.denominator_control, c.numerator_variant, c.denominator_variant, c.n_control, c.n_variant
FROM chosen AS c
INNER JOIN codes USING (market_id)
ORDER BY 1, 2

-- name: control_level
-- The control's totals of one metric, before the start of the experiment and since, in time order; see
-- `cells_of_series`.
SELECT
    epoch_us(block) AS block, dense_rank() OVER (ORDER BY market_id) AS market,
    coalesce(sum(numerator_control) FILTER (comparison <> $before), 0) AS sum_since,
    coalesce(sum(denominator_control) FILTER (comparison <> $before), 0) AS weight_since,
    coalesce(sum(numerator_control) FILTER (comparison = $before), 0) AS sum_before,
    coalesce(sum(denominator_control) FILTER (comparison = $before), 0) AS weight_before,
    coalesce(sum(n_control) FILTER (comparison <> $before), 0)::DOUBLE AS n_since,
    coalesce(sum(n_control) FILTER (comparison = $before), 0)::DOUBLE AS n_before
FROM series_cells
WHERE
    experiment_id = $experiment_id AND metric = $metric AND comparison IN ($comparison, $before) AND n_control > 0
GROUP BY block, market_id
ORDER BY 1, 2

-- name: closed_until
-- The time up to which each experiment's blocks are closed: its arms have reported later opportunities. Where the
-- control is replayed too, a block also waits for these replays, but only until the variant is a day ahead of them.
SELECT
    experiment_id,
    least(
        control_until, variant_until,
        greatest(coalesce(replay_until, variant_until), variant_until - INTERVAL 1 DAY)
    ) AS closed_until
FROM arm_progress
WHERE control_until IS NOT NULL AND variant_until IS NOT NULL

-- name: close_blocks
-- Marks the blocks that are closed. A block becomes open again if the report by which it was closed is removed.
UPDATE {table} AS p
SET closed = a.reached
FROM (
    SELECT
        q.experiment_id, q.comparison, q.metric, q.as_of,
        coalesce(q.as_of <= a.closed_until, false) AS reached
    FROM {table} AS q
    LEFT JOIN ({closed_until}) AS a ON a.experiment_id = q.experiment_id
    WHERE q.{inside}
) AS a
WHERE
    p.experiment_id = a.experiment_id AND p.comparison = a.comparison AND p.metric = a.metric
    AND p.as_of = a.as_of AND p.closed <> a.reached

-- name: newest_closed
-- The newest closed row of each series of some experiments.
SELECT *
FROM series_interval_path
WHERE {inside} AND closed
QUALIFY row_number() OVER (PARTITION BY experiment_id, comparison, metric ORDER BY as_of DESC) = 1
