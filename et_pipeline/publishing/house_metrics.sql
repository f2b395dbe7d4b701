-- The operators' metrics file.

-- name: house_destinations
-- 1 for each destination whose newest attempt failed, 0 for the others that were tried.
SELECT destination, (arg_max(status, attempted_at) = 'failed')::INTEGER AS unavailable
FROM deliveries WHERE status IN ('delivered', 'failed', 'dead')
GROUP BY destination ORDER BY destination

-- name: house_errors
-- Numbers of errors by kind; every kind has a row, so that a rate starts from 0.
SELECT 'quarantined_line' AS error, coalesce(sum(quarantined), 0)::BIGINT AS errors FROM snapshots
UNION ALL
SELECT 'delivery_failed', count(*) FILTER (status = 'failed') FROM deliveries
UNION ALL
SELECT 'delivery_dead', count(*) FILTER (status = 'dead') FROM deliveries
ORDER BY error

-- name: house_invocations
-- Numbers of messages. The label `decision` is the bot's authority (Explain) for reason codes, else the message's kind.
SELECT CASE kind WHEN 'reason_code' THEN 'explain' ELSE kind END AS decision,
    coalesce(reason_code, '') AS reason_code,
    count(*) AS messages
FROM events GROUP BY ALL ORDER BY ALL

-- name: house_latency
-- Seconds from the decision to the first delivery: for each bound how many messages took at most that long, and the
-- total.
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
