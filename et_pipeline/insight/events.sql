-- The messages of each experiment, each with its newest delivery attempt.
SELECT e.*, r.meaning, r.action, d.status, d.destination, d.attempted_at
FROM events AS e
LEFT JOIN reason_codes AS r ON r.code = e.reason_code
LEFT JOIN (
    SELECT event_id, arg_max(status, (attempt, attempted_at)) AS status,
           arg_max(destination, (attempt, attempted_at)) AS destination, max(attempted_at) AS attempted_at
    FROM deliveries GROUP BY event_id
) AS d USING (event_id)
WHERE e.experiment_id IN (SELECT unnest($ids))
ORDER BY e.emitted_at, e.seq
