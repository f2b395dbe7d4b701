-- The reports that count, in the order of their timelines: `segment` numbers the stretches without a gap
-- longer than the tolerance, `id` orders reports by report_id, `place` counts those of one arm at one
-- moment, and `candidates` the controls within a variant's reach.
WITH counting AS (
    SELECT * FROM controls
    UNION ALL
    SELECT * FROM variants
),
moments AS (
    SELECT
        arm, report_id, market_id, outcome_id, side, emitted_at, {moment} AS moment,
        row_number() OVER (ORDER BY report_id) AS id
    FROM counting
),
breaks AS (
    SELECT
        *,
        CASE WHEN moment - lag(moment) OVER timeline <= {tolerance_us} THEN 0 ELSE 1 END AS is_first
    FROM moments
    WINDOW timeline AS (PARTITION BY market_id, outcome_id, side ORDER BY moment, id)
),
segments AS (
    SELECT
        *,
        CAST(sum(is_first) OVER (
            ORDER BY market_id, outcome_id, side, moment, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS BIGINT) AS segment
    FROM breaks
)
SELECT
    segment, arm, moment, id, report_id, market_id, outcome_id, side, emitted_at,
    row_number() OVER (PARTITION BY segment, arm, moment ORDER BY id) AS place,
    CAST(sum(CASE WHEN arm = 'control' THEN 1 ELSE 0 END) OVER (
        PARTITION BY segment ORDER BY moment RANGE BETWEEN {tolerance_us} PRECEDING AND {tolerance_us} FOLLOWING
    ) AS INTEGER) AS candidates
FROM segments
