-- What governance reads of each experiment.

-- name: interval_points
-- Interval paths in order of time, a row for each metric and block end.
SELECT
    experiment_id, metric, as_of, n_pairs, effective_clusters, n_markets, n_blocks, mean_uplift, se,
    ci_lower, ci_upper, e_value, p_value, alarm_ci_lower, alarm_ci_upper, autocorrelation, ready, closed, method
FROM interval_path
WHERE list_contains(?, experiment_id)
ORDER BY experiment_id, as_of, metric

-- name: gaps
-- Pairs without a value by metric and block, in order of time.
SELECT
    m.experiment_id, m.block + to_microseconds(e.time_block_us) AS as_of, m.metric,
    sum(m.pairs)::BIGINT, sum(m.control)::BIGINT, sum(m.variant)::BIGINT
FROM missing_values AS m
JOIN experiments AS e USING (experiment_id)
WHERE list_contains(?, m.experiment_id)
GROUP BY m.experiment_id, m.metric, m.block, e.time_block_us
ORDER BY m.experiment_id, as_of, m.metric

-- name: replays
-- What the variant's reports say of the control's opportunities, from the first block up to each one's end.
SELECT
    experiment_id, as_of,
    CAST(sum(opportunities) OVER so_far AS BIGINT), CAST(sum(passed) OVER so_far AS BIGINT),
    CAST(sum(assumed) OVER so_far AS BIGINT), CAST(sum(missing) OVER so_far AS BIGINT)
FROM replays
WHERE list_contains(?, experiment_id)
WINDOW so_far AS (PARTITION BY experiment_id ORDER BY as_of)
ORDER BY experiment_id, as_of
