-- The newest interval of each experiment's primary metric, for the partitions of `intervals` in the UI.
SELECT experiment_id, metric, n_pairs, effective_clusters, mean_uplift, ci_lower, ci_upper
FROM intervals
WHERE role = 'primary' AND experiment_id IN (SELECT unnest($experiments::VARCHAR[]));
