-- name: newest_closed_primary
-- The end of the newest closed block with pairs of some experiments' primary metric.
SELECT experiment_id, max(as_of) FROM series_interval_path
WHERE {inside} AND closed AND comparison = '{uplift}' AND role = 'primary'
GROUP BY experiment_id

-- name: cells_of_segments
-- The cells of one experiment's breakdowns in closed blocks; markets are numbered 0, 1, … in the order of their names.
WITH chosen AS (
    SELECT * FROM segment_cells
    WHERE experiment_id = $experiment_id AND metric = $metric AND block < $as_of
), codes AS (
    SELECT market_id, row_number() OVER (ORDER BY market_id) - 1 AS market
    FROM (SELECT DISTINCT market_id FROM chosen) AS markets
)
SELECT
    c.dimension, c.value, epoch_us(c.block) AS block, codes.market, c.n, c.sum, c.m2,
    c.numerator_control, c.denominator_control, c.numerator_variant, c.denominator_variant, c.n_control, c.n_variant
FROM chosen AS c
INNER JOIN codes USING (market_id)
ORDER BY ALL
