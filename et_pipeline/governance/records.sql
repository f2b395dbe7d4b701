-- What governance reads of each experiment.

-- name: interval_points
-- Interval paths in order of time, a row for each series and block end.
SELECT
    experiment_id, metric, as_of, n_pairs, effective_clusters, n_markets, n_blocks, mean_uplift, se,
    ci_lower, ci_upper, e_value, p_value, alarm_ci_lower, alarm_ci_upper, autocorrelation, ready, closed, method,
    fixed_ci_lower, fixed_ci_upper, look, looks, next_look_at, carried, degrees_of_freedom, comparison,
    n_control, n_variant
FROM series_interval_path
WHERE list_contains(?, experiment_id)
ORDER BY experiment_id, as_of, comparison, metric

-- name: gaps
-- Numbers of pairs without a value, by metric and block, in order of time.
SELECT
    m.experiment_id, m.block + to_microseconds(e.time_block_us) AS as_of, m.metric,
    sum(m.pairs)::BIGINT, sum(m.control)::BIGINT, sum(m.variant)::BIGINT
FROM missing_values AS m
JOIN experiments AS e USING (experiment_id)
WHERE list_contains(?, m.experiment_id)
GROUP BY m.experiment_id, m.metric, m.block, e.time_block_us
ORDER BY m.experiment_id, as_of, m.metric

-- name: replays
-- How many of the control's opportunities the variant reported, from the first block up to the end of each block.
SELECT
    experiment_id, as_of,
    CAST(sum(opportunities) OVER so_far AS BIGINT), CAST(sum(passed) OVER so_far AS BIGINT),
    CAST(sum(assumed) OVER so_far AS BIGINT), CAST(sum(missing) OVER so_far AS BIGINT)
FROM replays
WHERE list_contains(?, experiment_id)
WINDOW so_far AS (PARTITION BY experiment_id ORDER BY as_of)
ORDER BY experiment_id, as_of

-- name: failing
-- Checks that fail for single experiments, under the names of the conditions of a verdict. The limits are the same as
-- in the checks themselves.
WITH chosen AS (
    SELECT unnest($experiments::VARCHAR[]) AS experiment_id
), paired AS (
    SELECT experiment_id, count(*) AS control, count(variant_report_id) AS variant
    FROM pairs WHERE experiment_id IN (FROM chosen) GROUP BY experiment_id
    UNION ALL
    SELECT experiment_id, sum(pairs), sum(pairs) FROM pair_blocks_elsewhere
    WHERE experiment_id IN (FROM chosen) GROUP BY experiment_id
), alone AS (
    SELECT experiment_id, arm, reason, count(*) AS reports FROM unmatched
    WHERE experiment_id IN (FROM chosen) GROUP BY ALL
    UNION ALL
    SELECT experiment_id, arm, reason, reports FROM unmatched_elsewhere WHERE experiment_id IN (FROM chosen)
), opportunities AS (
    SELECT experiment_id, 'control' AS arm, 0 AS missed, control AS found FROM paired
    UNION ALL SELECT experiment_id, 'variant', 0, variant FROM paired
    UNION ALL
    SELECT experiment_id, arm, reports, 0 FROM alone
    WHERE reason NOT IN ('superseded', 'too_early', 'after_end', 'passed', 'both_passed')
)
SELECT experiment_id, 'unmatched' AS condition
FROM opportunities JOIN experiments USING (experiment_id)
WHERE matching <> 'arms' AND (arm = 'variant' OR (arm = 'control' AND mode <> 'limited_live'))
GROUP BY experiment_id, arm HAVING sum(missed) > $most_unmatched * sum(missed + found)
UNION
SELECT experiment_id, 'values_missing' FROM diagnostics JOIN experiments USING (experiment_id)
WHERE missing_share > max_missing AND experiment_id IN (FROM chosen)
UNION
SELECT experiment_id, 'longer_time_block_needed' FROM diagnostics
WHERE longer_block_needed AND experiment_id IN (FROM chosen)
UNION
SELECT experiment_id, 'sample_ratio_alarm' FROM sample_ratio WHERE alarm AND experiment_id IN (FROM chosen)
UNION
SELECT experiment_id, 'sample_ratio_alarm' FROM sample_ratio_within WHERE alarm AND experiment_id IN (FROM chosen)
UNION
SELECT experiment_id, 'change_refused' FROM plan_refusals WHERE experiment_id IN (FROM chosen)

-- name: failing_checks
SELECT check_name, experiment_id, since FROM failing_checks

-- name: sample_ratios
-- Each limited-live experiment's newest shares; since when there is an alarm that the split differs from the plan, for
-- the whole or within markets or hours of the day; and within which of these.
SELECT
    r.experiment_id, r.observed, r.planned, least(r.since, w.since) AS since, coalesce(w.within, '')
FROM (
    SELECT
        experiment_id, arg_max(observed_share, as_of) AS observed, arg_max(planned_share, as_of) AS planned,
        min(as_of) FILTER (alarm) AS since
    FROM sample_ratio GROUP BY experiment_id
) AS r
LEFT JOIN (
    SELECT
        experiment_id, min(as_of) AS since,
        array_to_string(
            list_sort(list(DISTINCT CASE dimension WHEN 'market' THEN 'markets' ELSE 'hours of the day' END)), ' and '
        ) AS within
    FROM sample_ratio_within WHERE alarm GROUP BY experiment_id
) AS w USING (experiment_id)
