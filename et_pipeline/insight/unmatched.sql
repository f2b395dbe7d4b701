-- Reports without a pair of each experiment, by arm and reason.
SELECT experiment_id, arm, reason, count(*) AS reports FROM unmatched
WHERE experiment_id IN (SELECT unnest($ids)) GROUP BY ALL
UNION ALL
SELECT experiment_id, arm, reason, reports FROM unmatched_elsewhere WHERE experiment_id IN (SELECT unnest($ids))
ORDER BY ALL
