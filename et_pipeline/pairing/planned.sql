-- name: planned
SELECT DISTINCT metric FROM experiment_metrics
WHERE experiment_id IN (SELECT experiment_id FROM chosen)
ORDER BY metric
