-- name: nearest_timeline
-- The reports that count, on their timelines: `segment` numbers the stretches of a timeline without a gap
-- longer than the tolerance, `place` orders those of one arm at one moment by report_id, and `candidates`
-- counts the controls within a variant's reach. Only the timelines are numbered in one order; their reports
-- are numbered timeline by timeline, so that a cluster shares the work.
WITH counting AS (
    SELECT arm, report_id, market_id, outcome_id, side, emitted_at FROM controls
    UNION ALL
    SELECT arm, report_id, market_id, outcome_id, side, emitted_at FROM variants
),
timelines AS (
    SELECT
        market_id, outcome_id, side,
        row_number() OVER (ORDER BY market_id, outcome_id, side) AS timeline
    FROM (SELECT DISTINCT market_id, outcome_id, side FROM counting) AS distinct_timelines
),
moments AS (
    SELECT
        t.timeline, c.arm, c.report_id, c.market_id, c.outcome_id, c.side, c.emitted_at,
        {moment} AS moment
    FROM counting AS c
    INNER JOIN timelines AS t
        ON t.market_id = c.market_id AND t.outcome_id = c.outcome_id AND t.side = c.side
),
breaks AS (
    SELECT
        *,
        CASE
            WHEN moment - lag(moment) OVER (PARTITION BY timeline ORDER BY moment) <= {tolerance_us} THEN 0
            ELSE 1
        END AS is_first
    FROM moments
),
segments AS (
    SELECT
        *,
        timeline * 4294967296 + CAST(sum(is_first) OVER (
            PARTITION BY timeline ORDER BY moment RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS BIGINT) AS segment
    FROM breaks
)
SELECT
    segment, arm, moment, report_id, market_id, outcome_id, side, emitted_at,
    row_number() OVER (PARTITION BY segment, arm, moment ORDER BY report_id) AS place,
    CAST(sum(CASE WHEN arm = 'control' THEN 1 ELSE 0 END) OVER (
        PARTITION BY segment ORDER BY moment RANGE BETWEEN {tolerance_us} PRECEDING AND {tolerance_us} FOLLOWING
    ) AS INTEGER) AS candidates
FROM segments
