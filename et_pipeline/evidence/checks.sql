-- name: disagreements
-- Experiments and series whose cells, path and newest interval do not have the same number of pairs. Experiments in
-- `failures` are left out, since their figures are not up to date.
WITH counted AS (
    SELECT experiment_id, comparison, metric, coalesce(least(sum(n_control), sum(n_variant)), sum(n)) AS n
    FROM series_cells WHERE comparison <> '{before}' GROUP BY ALL
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

-- name: unfaithful
-- Experiments whose backtester is shown to be unfaithful, by the primary metric of the replayed control. A gap without
-- any spread has no interval; then its mean counts.
SELECT f.experiment_id, f.metric, coalesce(ci_lower, mean_uplift), coalesce(ci_upper, mean_uplift), margin
FROM replay_fidelity AS f
INNER JOIN experiment_metrics AS m ON m.experiment_id = f.experiment_id AND m.metric = f.metric
WHERE m.role = 'primary' AND f.comparison = 'replay_gap' AND f.state = 'unfaithful'
ORDER BY ALL

-- name: moved_gaps
-- Controls whose newest day's gap differs from that of the days before by more than four standard errors, in the
-- primary metric of one of their experiments. Days with fewer than 10 markets are left out, since their standard error
-- is poor.
WITH days AS (
    SELECT
        g.*, row_number() OVER (PARTITION BY strategy_id, config_version, metric ORDER BY day DESC) AS place
    FROM replay_gaps AS g
    WHERE n_markets >= 10 AND mean_gap IS NOT NULL AND metric IN (SELECT metric FROM experiment_metrics WHERE role = 'primary')
), compared AS (
    SELECT
        strategy_id, config_version, metric, max(day) AS day,
        max(CASE WHEN place = 1 THEN mean_gap END) AS gap, max(CASE WHEN place = 1 THEN se END) AS se,
        sum(CASE WHEN place > 1 THEN n_pairs * mean_gap END) / sum(CASE WHEN place > 1 THEN n_pairs END) AS before,
        sqrt(sum(CASE WHEN place > 1 THEN n_pairs * n_pairs * se * se END))
        / sum(CASE WHEN place > 1 THEN n_pairs END) AS se_before
    FROM days
    GROUP BY strategy_id, config_version, metric
)
SELECT strategy_id, metric, day, gap, before
FROM compared
WHERE abs(gap - before) > 4 * sqrt(se * se + se_before * se_before)
ORDER BY ALL

-- name: groups_off
-- The markets and hours of the day in which the split is not the planned one: of each, the three with the most
-- evidence.
SELECT g.experiment_id, g.dimension, g.value, g.observed_share, g.planned_share
FROM sample_ratio_groups AS g
WHERE (g.experiment_id, g.dimension) IN (SELECT experiment_id, dimension FROM sample_ratio_within WHERE alarm)
QUALIFY row_number() OVER (PARTITION BY g.experiment_id, g.dimension ORDER BY g.e_value DESC, g.value) <= 3
ORDER BY g.experiment_id, g.dimension, g.e_value DESC, g.value
