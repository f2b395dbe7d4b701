-- The interval path of one experiment's primary metric, with the moment of decision.
SELECT p.metric, p.as_of, p.mean_uplift, p.ci_lower, p.ci_upper, m.equivalence_margin, v.decided_as_of
FROM interval_path AS p
JOIN experiment_metrics AS m USING (experiment_id, metric)
LEFT JOIN verdicts AS v USING (experiment_id)
WHERE p.experiment_id = $id AND m.role = 'primary'
ORDER BY p.as_of
