-- The outbox: due messages, outcomes, and dead letters.

-- name: pending
-- Messages whose delivery is due. $kinds and $destinations are the routes of events: a kind and its destination are at
-- the same position. A notification names its destination itself; all notifications are included if $people is true.
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
SELECT m.event_id, m.kind, m.experiment_id, m.reason_code, m.payload, coalesce(m.destination, r.destination),
    coalesce(h.attempt, 0) + 1 AS attempt,
    coalesce(h.attempt - h.requeued_at, 0) AS failures
FROM messages AS m
LEFT JOIN routes AS r USING (kind)
LEFT JOIN history AS h ON h.event_id = m.event_id AND h.destination = coalesce(m.destination, r.destination)
WHERE CASE WHEN m.destination IS NULL THEN r.destination IS NOT NULL ELSE $people END
    AND (
        h.status IS NULL
        OR h.status = 'requeued'
        OR (h.status = 'failed' AND ($now::TIMESTAMP IS NULL OR h.due_at <= $now::TIMESTAMP))
    )
ORDER BY m.destination IS NOT NULL, m.seq

-- name: record
INSERT INTO deliveries (event_id, destination, attempt, status, detail, attempted_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: known
SELECT DISTINCT event_id FROM messages WHERE event_id IN (SELECT unnest(?::VARCHAR[]))

-- name: redeliver
-- Makes events pending again, at every destination where they were delivered or became dead letters.
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
SELECT m.event_id, m.kind, m.experiment_id, m.reason_code, m.message,
    last.destination, last.attempt, last.detail, last.attempted_at
FROM last JOIN messages AS m USING (event_id)
WHERE last.status = 'dead'
ORDER BY m.destination IS NOT NULL, m.seq, last.destination

-- name: counts
WITH routes AS (
    SELECT unnest($kinds::VARCHAR[]) AS kind, unnest($destinations::VARCHAR[]) AS destination
),
last AS (
    SELECT event_id, destination, arg_max(status, attempt) AS status FROM deliveries GROUP BY ALL
)
SELECT coalesce(m.destination, r.destination) AS destination,
    CASE WHEN last.status IS NULL OR last.status = 'requeued' THEN 'waiting' ELSE last.status END AS status,
    count(*) AS messages
FROM messages AS m
LEFT JOIN routes AS r USING (kind)
LEFT JOIN last ON last.event_id = m.event_id AND last.destination = coalesce(m.destination, r.destination)
WHERE coalesce(m.destination, r.destination) IS NOT NULL
GROUP BY ALL ORDER BY ALL
