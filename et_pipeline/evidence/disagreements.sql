-- name: disagreements
-- Experiments and metrics whose cells, path and newest interval do not tell the same number of pairs.
WITH counted AS (
    SELECT experiment_id, metric, sum(n) AS n FROM cells GROUP BY experiment_id, metric
), path AS (
    SELECT experiment_id, metric, arg_max(n_pairs, as_of) AS n FROM interval_path GROUP BY experiment_id, metric
)
SELECT experiment_id, metric
FROM counted
FULL JOIN path USING (experiment_id, metric)
FULL JOIN intervals USING (experiment_id, metric)
WHERE counted.n IS DISTINCT FROM path.n OR path.n IS DISTINCT FROM intervals.n_pairs
ORDER BY experiment_id, metric
