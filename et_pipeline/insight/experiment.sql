-- What the Dagster UI shows of one experiment.

-- name: noted
-- The state of each experiment in the figures that the UI shows on its partition of `experiment`.
SELECT v.experiment_id, v.state, v.verdict, v.sentence,
    i.metric, i.n_pairs, i.effective_clusters, i.mean_uplift, i.ci_lower, i.ci_upper
FROM verdicts AS v
LEFT JOIN intervals AS i ON i.experiment_id = v.experiment_id AND i.role = 'primary'
WHERE v.experiment_id IN (SELECT unnest($experiments::VARCHAR[]))
ORDER BY v.experiment_id;

-- name: primary_path
-- The interval path of one experiment's primary metric, with the moment of decision.
SELECT p.metric, p.as_of, p.mean_uplift, p.ci_lower, p.ci_upper, m.equivalence_margin, v.decided_as_of
FROM interval_path AS p
JOIN experiment_metrics AS m USING (experiment_id, metric)
LEFT JOIN verdicts AS v USING (experiment_id)
WHERE p.experiment_id = $id AND m.role = 'primary'
ORDER BY p.as_of
