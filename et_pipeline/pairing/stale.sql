-- name: stale
-- The cells that the pairs in question are part of: to be computed again.
SELECT DISTINCT experiment_id, block, market_id FROM {pairs}
