-- The matches of distance zero, made with the stacks.
SELECT
    segment, moment AS control_moment, moment AS variant_moment, 0 AS control_taken, 0 AS variant_taken,
    taken AS matched
FROM stacks
WHERE arm = 'control' AND taken > 0
