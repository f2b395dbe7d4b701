-- name: nearest_looked
-- Each stack's nearest stack of the other arm, its `partner`; stacks without one in reach are left out, for
-- good. Where two are equally far the smaller id at the head of the stack decides, and `tied` says so.
WITH sides AS (
    SELECT
        *,
        CASE
            WHEN arm = 'control' THEN last_value(CASE WHEN arm = 'variant' THEN moment END IGNORE NULLS) OVER before
            ELSE last_value(CASE WHEN arm = 'control' THEN moment END IGNORE NULLS) OVER before
        END AS earlier,
        CASE
            WHEN arm = 'control' THEN first_value(CASE WHEN arm = 'variant' THEN moment END IGNORE NULLS) OVER after
            ELSE first_value(CASE WHEN arm = 'control' THEN moment END IGNORE NULLS) OVER after
        END AS later
    FROM stacks
    WINDOW
        before AS (PARTITION BY segment ORDER BY moment ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
        after AS (PARTITION BY segment ORDER BY moment ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
),
ties AS (
    SELECT s.segment, s.moment, CASE WHEN e.id < l.id THEN s.earlier ELSE s.later END AS partner
    FROM sides AS s
    INNER JOIN heads AS e ON e.segment = s.segment AND e.moment = s.earlier
    INNER JOIN heads AS l ON l.segment = s.segment AND l.moment = s.later
    WHERE s.moment - s.earlier = s.later - s.moment
),
looked AS (
    SELECT
        s.segment, s.arm, s.moment, s.height, s.taken, t.partner IS NOT NULL AS tied,
        CASE
            WHEN t.partner IS NOT NULL THEN t.partner
            WHEN s.later IS NULL OR s.moment - s.earlier < s.later - s.moment THEN s.earlier
            ELSE s.later
        END AS partner
    FROM sides AS s
    LEFT JOIN ties AS t ON t.segment = s.segment AND t.moment = s.moment
)
SELECT *
FROM looked
WHERE abs(moment - partner) <= {tolerance_us}
