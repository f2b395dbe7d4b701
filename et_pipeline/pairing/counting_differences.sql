-- name: counting_differences
-- Planned metrics whose cells do not count the pairs that have a value. Of experiments that failed they cannot,
-- and `failures` says so.
WITH counted AS (
    SELECT experiment_id, metric, n FROM (UNPIVOT counted_pairs ON {metrics} INTO NAME metric VALUE n)
), summed AS (
    SELECT experiment_id, metric, sum(n)::BIGINT AS n FROM cells GROUP BY experiment_id, metric
)
SELECT experiment_id, metric, coalesce(counted.n, 0) AS pairs, coalesce(summed.n, 0) AS cells
FROM experiment_metrics
LEFT JOIN counted USING (experiment_id, metric)
LEFT JOIN summed USING (experiment_id, metric)
WHERE coalesce(counted.n, 0) <> coalesce(summed.n, 0) AND NOT list_contains($ratios, metric)
    AND experiment_id NOT IN (SELECT experiment_id FROM failures)
ORDER BY experiment_id, metric
