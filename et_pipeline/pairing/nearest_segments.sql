-- name: nearest_segments
SELECT
    '{experiment_id}' AS experiment_id, market_id, outcome_id, side,
    min(emitted_at) AS starts_at, max(emitted_at) AS ends_at
FROM timeline
GROUP BY segment, market_id, outcome_id, side
