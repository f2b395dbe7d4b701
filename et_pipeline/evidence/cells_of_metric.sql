-- name: cells_of_metric
-- Cells of one metric, in time order; markets as codes 0, 1, … by name.
WITH codes AS (
    SELECT market_id, row_number() OVER (ORDER BY market_id) - 1 AS market
    FROM (SELECT DISTINCT market_id FROM cells WHERE experiment_id = $experiment_id AND metric = $metric) AS markets
)
SELECT
    epoch_us(c.block) AS block, codes.market, c.n, c.sum, c.m2, c.wins, c.winsorised,
    c.numerator_control, c.denominator_control, c.numerator_variant, c.denominator_variant
FROM cells AS c
INNER JOIN codes USING (market_id)
WHERE c.experiment_id = $experiment_id AND c.metric = $metric
ORDER BY 1, 2
