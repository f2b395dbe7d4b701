-- Which rows of the data set count, and what the warehouse stores about them.

-- name: reports
-- The reports that count: all stored ones, without those that a conflict removed again.
SELECT r.*
FROM stored_reports AS r
WHERE NOT EXISTS (
    SELECT 1 FROM displaced AS d WHERE d.report_id = r.report_id AND d.batch > r.batch
)

-- name: pair_blocks
SELECT experiment_id, block, count(*) AS pairs FROM pairs WHERE {inside} GROUP BY experiment_id, block

-- name: unmatched_reasons
SELECT experiment_id, arm, reason, count(*) AS reports FROM unmatched WHERE {inside}
GROUP BY experiment_id, arm, reason
