-- name: newest_checkpoint
-- The checkpoint with the most blocks of one series, all of them before a time.
SELECT sums FROM series_checkpoints
WHERE
    experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric AND last_block < $since
ORDER BY blocks DESC
LIMIT 1

-- name: drop_checkpoints
-- Those of one series with a block at or after a time, and those that are not wanted.
DELETE FROM series_checkpoints
WHERE
    experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric
    AND (last_block >= $since OR NOT list_contains($wanted::BIGINT[], blocks))

-- name: rows_before
-- How many rows the path of one series has up to a time.
SELECT count(*) FROM series_interval_path
WHERE experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric AND as_of <= $as_of

-- name: markets_of_series
-- The markets of one series from a block on.
SELECT DISTINCT market_id FROM series_cells
WHERE experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric AND block >= $since

-- name: newest_cells
-- Cells of one series from a block on; markets as their places in a list. They are put in order where they are used:
-- that is half the time.
SELECT epoch_us(c.block) AS block, codes.market, c.n, c.sum, c.m2, c.numerator_control, c.numerator_variant
FROM series_cells AS c
INNER JOIN (
    SELECT unnest($markets::VARCHAR[]) AS market_id, unnest(range(len($markets::VARCHAR[]))) AS market
) AS codes USING (market_id)
WHERE
    c.experiment_id = $experiment_id AND c.comparison = $comparison AND c.metric = $metric AND c.block >= $since

-- name: counts_of_series
-- Pairs of one series, those that the variant won, and winsorised values.
SELECT sum(n)::BIGINT, sum(wins)::BIGINT, sum(winsorised)::BIGINT FROM series_cells
WHERE experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric
