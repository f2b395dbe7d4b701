-- name: nearest_stretches
-- The stretches of time to match again: the affected segments, and the points outside of any.
SELECT market_id, outcome_id, side, starts_at, ends_at FROM affected
UNION ALL
SELECT market_id, outcome_id, side, emitted_at, emitted_at FROM points
