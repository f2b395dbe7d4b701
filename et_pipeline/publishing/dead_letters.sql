WITH last AS (
    SELECT * FROM deliveries
    QUALIFY row_number() OVER (PARTITION BY event_id, destination ORDER BY attempt DESC) = 1
)
SELECT e.event_id, e.kind, e.experiment_id, e.reason_code, e.message,
    last.destination, last.attempt, last.detail, last.attempted_at
FROM last JOIN events AS e USING (event_id)
WHERE last.status = 'dead'
ORDER BY e.seq, last.destination
