-- Seconds from the decision to its first delivery: how many messages took at most so long, and their total.
WITH first AS (
    SELECT event_id, destination, min(attempted_at) AS delivered_at
    FROM deliveries WHERE status = 'delivered' GROUP BY ALL
),
latency AS (
    SELECT greatest(0.0, epoch_us(delivered_at) / 1e6 - epoch_us(emitted_at) / 1e6) AS seconds
    FROM first JOIN events USING (event_id)
)
SELECT bound, count(seconds) FILTER (seconds <= bound) AS messages, coalesce(sum(seconds), 0.0) AS total
FROM (SELECT unnest($bounds::DOUBLE[]) AS bound) AS bounds LEFT JOIN latency ON true
GROUP BY bound ORDER BY bound
