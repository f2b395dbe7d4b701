-- name: sampled
-- Registered experiments that may be sampled: a large split first needs a human's sign-off.
SELECT experiment_id
FROM experiments
WHERE experiment_id IN (SELECT unnest($experiments::VARCHAR[]))
    AND (
        traffic_split_pct <= $large_split
        OR experiment_id IN (
            SELECT experiment_id FROM audit_log
            WHERE from_state = 'awaiting_sign_off' AND to_state = 'sampling'
        )
    )
ORDER BY experiment_id
