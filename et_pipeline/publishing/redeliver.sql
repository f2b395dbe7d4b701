-- Puts events back among the pending ones, at every destination that is done with them.
INSERT INTO deliveries (event_id, destination, attempt, status, detail, attempted_at, due_at)
SELECT event_id, destination, max(attempt) + 1, 'requeued', 'asked for by an operator', $now::TIMESTAMP, NULL
FROM deliveries
WHERE event_id IN (SELECT unnest($event_ids::VARCHAR[]))
GROUP BY event_id, destination
HAVING arg_max(status, attempt) IN ('delivered', 'dead')
RETURNING event_id
