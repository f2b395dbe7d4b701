-- The pairs of the stale cells.
SELECT p.*
FROM pairs AS p
WHERE (p.experiment_id, p.block, p.market_id) IN (SELECT experiment_id, block, market_id FROM stale)
