SELECT DISTINCT s.experiment_id, s.block, s.market_id
FROM stale_cells AS s
WHERE s.experiment_id IN (SELECT experiment_id FROM chosen)
