-- Interval paths in order of time, a row for each metric and block end.
SELECT
    experiment_id, metric, as_of, n_pairs, effective_clusters, n_markets, n_blocks, mean_uplift, se,
    ci_lower, ci_upper, e_value, p_value, alarm_ci_lower, alarm_ci_upper, autocorrelation, ready, closed, method
FROM interval_path
WHERE list_contains(?, experiment_id)
ORDER BY experiment_id, as_of, metric
