-- name: decisions
-- What each plan fixes for each of its metrics, for the experiments asked for.
SELECT
    e.experiment_id, m.metric, m.role, m.estimator, m.non_inferiority_margin, m.equivalence_margin,
    e.min_samples_for_decision,
    e.alpha, e.alarm_alpha, e.g, e.planned_blocks, e.time_block_us, e.plan_hash
FROM experiments AS e
JOIN experiment_metrics AS m USING (experiment_id)
WHERE e.experiment_id IN (SELECT unnest($experiments::VARCHAR[]))
ORDER BY e.experiment_id, m.metric
