-- Cells of one metric, in time order; markets as codes 0, 1, … by name.
SELECT
    epoch_us(block) AS block,
    dense_rank() OVER (ORDER BY market_id) - 1 AS market,
    market_id, n, sum, m2, wins, winsorised,
    numerator_control, denominator_control, numerator_variant, denominator_variant
FROM cells
WHERE experiment_id = $experiment_id AND metric = $metric
ORDER BY 1, 2
