-- One row an experiment for the index of the review pages; what needs a human comes first.
SELECT e.experiment_id, e.title, e.owner, e.mode, e.starts_at, e.ends_at, v.state, v.verdict, v.reason, v.sentence,
       v.decided_as_of, v.contradicted, m.metric, i.n_pairs, i.effective_clusters, i.mean_uplift, i.ci_lower,
       i.ci_upper, i.as_of
FROM experiments AS e
LEFT JOIN verdicts AS v USING (experiment_id)
LEFT JOIN experiment_metrics AS m ON m.experiment_id = e.experiment_id AND m.role = 'primary'
LEFT JOIN intervals AS i ON i.experiment_id = e.experiment_id AND i.metric = m.metric
ORDER BY CASE v.state WHEN 'promotion_review' THEN 0 WHEN 'awaiting_sign_off' THEN 1 WHEN 'stalled' THEN 2
         WHEN 'sampling' THEN 3 WHEN 'registered' THEN 4 ELSE 5 END, e.starts_at DESC, e.experiment_id
