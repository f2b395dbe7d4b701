-- name: stale_pairs
-- The pairs of the stale cells.
SELECT
    s.cell,
    {columns}
FROM pairs AS p
INNER JOIN stale AS s
    ON s.experiment_id = p.experiment_id AND s.block = p.block AND s.market_id = p.market_id
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
