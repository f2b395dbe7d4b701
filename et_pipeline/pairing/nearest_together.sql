-- name: nearest_together
-- The matches of distance zero, made with the stacks.
SELECT
    segment, moment AS control_moment, moment AS variant_moment,
    CAST(0 AS BIGINT) AS control_taken, CAST(0 AS BIGINT) AS variant_taken, taken AS matched
FROM stacks
WHERE arm = 'control' AND taken > 0
