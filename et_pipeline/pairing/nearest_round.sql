-- name: nearest_round
-- One round: stacks that are each other's nearest are matched. The order of all possible matches is total
-- (distance, then the control's id, then the variant's), so what is found is exactly what a greedy choice in
-- that order makes, and the first of all that are left is always among it.
--
-- Stacks match place by place; after a tie only once, since the next one may go to the other side.
SELECT
    c.segment, c.moment AS control_moment, v.moment AS variant_moment,
    c.taken AS control_taken, v.taken AS variant_taken,
    CASE
        WHEN c.tied OR v.tied THEN CAST(1 AS BIGINT)
        WHEN c.height - c.taken < v.height - v.taken THEN c.height - c.taken
        ELSE v.height - v.taken
    END AS matched
FROM looked AS c
INNER JOIN looked AS v ON v.segment = c.segment AND v.moment = c.partner AND v.partner = c.moment
WHERE c.arm = 'control' AND v.arm = 'variant'
