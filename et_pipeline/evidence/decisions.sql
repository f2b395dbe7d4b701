-- name: decisions
-- What each plan fixes for each of its series, for the experiments asked for: those of the uplift, and every other
-- one that has cells or had some.
WITH series AS (
    SELECT experiment_id, '{uplift}' AS comparison, metric FROM experiment_metrics
    UNION
    SELECT experiment_id, comparison, metric FROM series_cells WHERE comparison <> '{uplift}'
    UNION
    SELECT experiment_id, comparison, metric FROM series_intervals WHERE comparison <> '{uplift}'
)
SELECT
    e.experiment_id, s.comparison, m.metric, m.role, m.estimator, m.non_inferiority_margin, m.equivalence_margin,
    e.min_samples_for_decision,
    e.alpha, e.alarm_alpha, e.g, e.planned_blocks, e.time_block_us, e.plan_hash
FROM experiments AS e
JOIN experiment_metrics AS m USING (experiment_id)
JOIN series AS s ON s.experiment_id = e.experiment_id AND s.metric = m.metric
WHERE e.experiment_id IN (SELECT unnest($experiments::VARCHAR[]))
ORDER BY e.experiment_id, s.comparison, m.metric
