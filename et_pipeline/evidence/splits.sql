-- name: splits
-- The planned split of each experiment as it was registered, and every later change of it, in order of time. A change
-- lies after the tick that last saw the plan without it and before the one that recorded it.
WITH plans AS (
    SELECT
        experiment_id, seq, recorded_at, action,
        greatest(
            (detail->>'$.unchanged_until')::TIMESTAMP,
            lag(recorded_at) OVER (PARTITION BY experiment_id ORDER BY seq)
        ) AS unchanged_until,
        CASE action
            WHEN 'plan_registered' THEN detail->>'$.plan.traffic_split_pct'
            ELSE detail->>'$.changes.traffic_split_pct[1]'
        END::DOUBLE / 100 AS split
    FROM audit_log
    WHERE action IN ('plan_registered', 'plan_amended') AND {inside}
)
SELECT experiment_id, epoch_us(unchanged_until) AS after, epoch_us(recorded_at) AS until, split
FROM plans
WHERE split IS NOT NULL
ORDER BY experiment_id, seq
