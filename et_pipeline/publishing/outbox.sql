-- The outbox: what is due, what became of it, what was given up on.

-- name: pending
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

-- name: record
INSERT INTO deliveries (event_id, destination, attempt, status, detail, attempted_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: known
SELECT DISTINCT event_id FROM events WHERE event_id IN (SELECT unnest(?::VARCHAR[]))

-- name: redeliver
-- Puts events back among the pending ones, at every destination that is done with them.
INSERT INTO deliveries (event_id, destination, attempt, status, detail, attempted_at, due_at)
SELECT event_id, destination, max(attempt) + 1, 'requeued', 'asked for by an operator', $now::TIMESTAMP, NULL
FROM deliveries
WHERE event_id IN (SELECT unnest($event_ids::VARCHAR[]))
GROUP BY event_id, destination
HAVING arg_max(status, attempt) IN ('delivered', 'dead')
RETURNING event_id

-- name: dead_letters
WITH last AS (
    SELECT * FROM deliveries
    QUALIFY row_number() OVER (PARTITION BY event_id, destination ORDER BY attempt DESC) = 1
)
SELECT e.event_id, e.kind, e.experiment_id, e.reason_code, e.message,
    last.destination, last.attempt, last.detail, last.attempted_at
FROM last JOIN events AS e USING (event_id)
WHERE last.status = 'dead'
ORDER BY e.seq, last.destination

-- name: counts
WITH routes AS (
    SELECT unnest($kinds::VARCHAR[]) AS kind, unnest($destinations::VARCHAR[]) AS destination
),
last AS (
    SELECT event_id, destination, arg_max(status, attempt) AS status FROM deliveries GROUP BY ALL
)
SELECT r.destination,
    CASE WHEN last.status IS NULL OR last.status = 'requeued' THEN 'waiting' ELSE last.status END AS status,
    count(*) AS messages
FROM events AS e
JOIN routes AS r USING (kind)
LEFT JOIN last ON last.event_id = e.event_id AND last.destination = r.destination
GROUP BY ALL ORDER BY ALL
