-- name: not_calibrated
-- Experiments that got pairs after their last calibration.
SELECT i.experiment_id
FROM intervals AS i
LEFT JOIN calibration AS c USING (experiment_id, metric)
WHERE i.role <> 'secondary'
GROUP BY i.experiment_id
HAVING bool_or(c.as_of IS NULL OR (c.as_of, c.n_pairs) <> (i.as_of, i.n_pairs))
ORDER BY i.experiment_id
