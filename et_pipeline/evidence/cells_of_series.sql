-- name: cells_of_series
-- Cells of one series, in time order; markets as codes 0, 1, … by name.
WITH chosen AS (
    SELECT * FROM series_cells
    WHERE experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric
), codes AS (
    SELECT market_id, row_number() OVER (ORDER BY market_id) - 1 AS market
    FROM (SELECT DISTINCT market_id FROM chosen) AS markets
)
SELECT
    epoch_us(c.block) AS block, codes.market, c.n, c.sum, c.m2, c.wins, c.winsorised,
    c.numerator_control, c.denominator_control, c.numerator_variant, c.denominator_variant
FROM chosen AS c
INNER JOIN codes USING (market_id)
ORDER BY 1, 2
