-- name: nearest_left
-- What is left of the stacks after a round.
SELECT l.segment, l.arm, l.moment, l.height, l.taken + coalesce(f.matched, 0) AS taken
FROM looked AS l
LEFT JOIN (
    SELECT segment, control_moment AS moment, matched FROM found
    UNION ALL
    SELECT segment, variant_moment, matched FROM found
) AS f ON f.segment = l.segment AND f.moment = l.moment
WHERE l.taken + coalesce(f.matched, 0) < l.height
