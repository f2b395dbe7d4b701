-- name: single_pairs
-- The uplift of single pairs.
SELECT uplift
FROM (
    SELECT {uplift} AS uplift
    FROM pairs AS p
    WHERE p.experiment_id = '{experiment_id}'
) AS every_pair
WHERE uplift IS NOT NULL

-- name: median
-- The median of all uplifts.
SELECT median(uplift) FROM ({single}) AS single

-- name: below
-- How many uplifts lie below a limit.
SELECT count(*) FROM ({single}) AS single WHERE uplift < {low}

-- name: between
-- The uplifts between two limits, in order, and how many pairs have each of them.
SELECT uplift, count(*) AS pairs
FROM ({single}) AS single
WHERE uplift >= {low} AND uplift <= {high}
GROUP BY uplift
ORDER BY uplift
