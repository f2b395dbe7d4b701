-- Events whose delivery is due. $kinds and $destinations are the routes, position by position.
WITH routes AS (
    SELECT unnest($kinds::VARCHAR[]) AS kind, unnest($destinations::VARCHAR[]) AS destination
),
history AS (
    SELECT event_id, destination,
        max(attempt) AS attempt,
        arg_max(status, attempt) AS status,
        arg_max(due_at, attempt) AS due_at,
        coalesce(max(attempt) FILTER (status = 'requeued'), 0) AS requeued_at
    FROM deliveries GROUP BY ALL
)
SELECT e.event_id, e.kind, e.experiment_id, e.reason_code, e.payload, r.destination,
    coalesce(h.attempt, 0) + 1 AS attempt,
    coalesce(h.attempt - h.requeued_at, 0) AS failures
FROM events AS e
JOIN routes AS r USING (kind)
LEFT JOIN history AS h ON h.event_id = e.event_id AND h.destination = r.destination
WHERE h.status IS NULL
    OR h.status = 'requeued'
    OR (h.status = 'failed' AND ($now::TIMESTAMP IS NULL OR h.due_at <= $now::TIMESTAMP))
ORDER BY e.seq
