-- How each experiment stands, in the figures that the UI shows on its partition of `experiment`.
SELECT v.experiment_id, v.state, v.verdict, v.sentence,
    i.metric, i.n_pairs, i.effective_clusters, i.mean_uplift, i.ci_lower, i.ci_upper
FROM verdicts AS v
LEFT JOIN intervals AS i ON i.experiment_id = v.experiment_id AND i.role = 'primary'
WHERE v.experiment_id IN (SELECT unnest($experiments::VARCHAR[]))
ORDER BY v.experiment_id;
