SELECT experiment_id, arm, reason, count(*) AS reports FROM unmatched WHERE {inside}
GROUP BY experiment_id, arm, reason
