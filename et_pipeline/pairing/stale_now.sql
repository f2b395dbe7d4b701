-- name: stale_now
-- The cells to compute again, numbered: a whole number groups faster than three columns.
SELECT row_number() OVER (ORDER BY experiment_id, block, market_id) AS cell, experiment_id, block, market_id
FROM (
    SELECT DISTINCT experiment_id, block, market_id FROM stale_cells
    WHERE experiment_id IN (SELECT experiment_id FROM chosen)
) AS distinct_cells
