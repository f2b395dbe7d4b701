-- name: followers
-- Each experiment that follows another one, with the other one's verdict and its own present judgement.
SELECT e.experiment_id, e.follows, m.metric, v.verdict, coalesce(v.contradicted, false) AS contradicted,
       v.standing AS promise, o.standing
FROM experiments AS e
INNER JOIN experiment_metrics AS m ON m.experiment_id = e.experiment_id AND m.role = 'primary'
LEFT JOIN verdicts AS v ON v.experiment_id = e.follows
LEFT JOIN verdicts AS o ON o.experiment_id = e.experiment_id
WHERE e.follows IS NOT NULL
ORDER BY e.experiment_id
