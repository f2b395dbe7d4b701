-- Cells of breakdowns: the pairs (or trades) of the stale cells, divided by the values of a dimension.

-- name: with_breakdowns
SELECT experiment_id FROM experiments
WHERE experiment_id IN (SELECT unnest(?::VARCHAR[])) AND coalesce(json_array_length(plan, '$.breakdowns'), 0) > 0
ORDER BY experiment_id

-- name: split_pairs
-- The pairs with their value of one dimension. The value is taken from the control's report, never from the variant's.
SELECT p.experiment_id, p.block, p.market_id, '{dimension}' AS dimension, {value} AS value, {columns}
FROM pairs AS p
INNER JOIN stale AS s
    ON s.experiment_id = p.experiment_id AND s.block = p.block AND s.market_id = p.market_id
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
{joined}
WHERE t.matching <> 'arms' AND p.{inside}

-- name: report_of_pair
-- A pair's control report, which alone has the labels.
INNER JOIN reports AS r
    ON r.opportunity_key = p.opportunity_key AND r.report_id = p.control_report_id AND r.emitted_at = p.pair_time

-- name: group_of_market
INNER JOIN market_groups AS k ON k.experiment_id = p.experiment_id AND k.market_id = p.market_id

-- name: split_trades
-- The trades with their value of one dimension, where all trades of both arms are compared.
SELECT p.experiment_id, p.block, p.market_id, '{dimension}' AS dimension, {value} AS value, p.arm, {columns}
FROM ({trades}) AS p
INNER JOIN stale AS s
    ON s.experiment_id = p.experiment_id AND s.block = p.block AND s.market_id = p.market_id
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
{joined}
WHERE p.{inside}

-- name: segments
-- The cells of the breakdowns, with a number for each as in `stale_now`.
SELECT
    row_number() OVER (ORDER BY experiment_id, block, market_id, dimension, value) AS cell,
    experiment_id, block, market_id, dimension, value
FROM (SELECT DISTINCT * FROM ({found}) AS found) AS distinct_segments

-- name: numbered
SELECT g.cell, {columns}
FROM {split} AS p
INNER JOIN segments AS g
    ON g.experiment_id = p.experiment_id AND g.block = p.block AND g.market_id = p.market_id
    AND g.dimension = p.dimension AND g.value = p.value

-- name: segment_cells
SELECT
    experiment_id, metric, dimension, value, block, market_id, n, sum, m2,
    numerator_control, denominator_control, numerator_variant, denominator_variant, n_control, n_variant
FROM ({cells}) AS cells
WHERE {inside}
