-- name: disagreements
-- Experiments and series whose cells, path and newest interval do not tell the same number of pairs. Of those
-- that failed they cannot, and `failures` says so.
WITH counted AS (
    SELECT experiment_id, comparison, metric, sum(n) AS n FROM series_cells GROUP BY ALL
), path AS (
    SELECT experiment_id, comparison, metric, arg_max(n_pairs, as_of) AS n FROM series_interval_path GROUP BY ALL
)
SELECT experiment_id, metric, comparison
FROM counted
FULL JOIN path USING (experiment_id, comparison, metric)
FULL JOIN series_intervals AS i USING (experiment_id, comparison, metric)
WHERE (counted.n IS DISTINCT FROM path.n OR path.n IS DISTINCT FROM i.n_pairs)
    AND experiment_id NOT IN (SELECT experiment_id FROM failures)
ORDER BY ALL
