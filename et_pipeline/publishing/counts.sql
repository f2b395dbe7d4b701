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
