-- name: nearest_stacks
-- Reports of one arm at one moment form a stack, in the order of their ids. Both arms at one moment: they
-- are as near as can be, so they match place by place at once (`taken`), and one stack is used up.
WITH stacks AS (
    SELECT segment, arm, moment, count(*) AS height
    FROM timeline
    GROUP BY segment, arm, moment
)
SELECT
    s.segment, s.arm, s.moment, s.height,
    CASE
        WHEN o.height IS NULL THEN CAST(0 AS BIGINT)
        WHEN o.height < s.height THEN o.height
        ELSE s.height
    END AS taken
FROM stacks AS s
LEFT JOIN stacks AS o ON o.segment = s.segment AND o.moment = s.moment AND o.arm <> s.arm
