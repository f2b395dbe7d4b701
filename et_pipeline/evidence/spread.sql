-- name: single_pairs
-- The uplift of single pairs, and the values of both arms.
SELECT uplift, control, variant
FROM (
    SELECT {uplift} AS uplift, {control} AS control, {variant} AS variant
    FROM pairs AS p
    WHERE p.experiment_id = '{experiment_id}'
) AS every_pair
WHERE uplift IS NOT NULL

-- name: spread
-- Of single pairs: their number, mean and mean square of the uplift around a centre, mean of each arm, how many
-- uplifts lie below one limit, and how many not above another.
SELECT
    count(*), avg(uplift - {centre}), avg((uplift - {centre}) * (uplift - {centre})), avg(control), avg(variant),
    sum(CASE WHEN uplift < {low} THEN 1 ELSE 0 END), sum(CASE WHEN uplift <= {high} THEN 1 ELSE 0 END)
FROM ({single}) AS single

-- name: median
-- The median of all uplifts.
SELECT median(uplift) FROM ({single}) AS single

-- name: middle
-- The same, where the middle ones are known to lie between two limits: so many of them, so many up from the lower one.
SELECT avg(uplift)
FROM (
    SELECT uplift FROM ({single}) AS single
    WHERE uplift >= {low} AND uplift <= {high}
    ORDER BY uplift
    LIMIT {number} OFFSET {further}
) AS middle
