-- name: nearest_points
-- The points on the timelines where something changed: the reports of touched opportunities, and the places of reports
-- that a conflict removed again.
SELECT market_id, outcome_id, side, emitted_at FROM gathered WHERE outside IS NULL
UNION
SELECT d.market_id, d.outcome_id, d.side, d.emitted_at
FROM displaced AS d
INNER JOIN arms AS a
    ON d.strategy_id = a.strategy_id AND d.mode = a.mode
    AND (a.config_version IS NULL OR d.config_version = a.config_version)
INNER JOIN behind AS b ON b.experiment_id = a.experiment_id AND d.batch > b.batch

-- name: nearest_affected
-- The segments within reach of a point; only in these can the matches change.
SELECT s.experiment_id, s.market_id, s.outcome_id, s.side, s.starts_at, s.ends_at
FROM pairing_segments AS s
WHERE
    s.experiment_id = '{experiment_id}' AND {near}
    AND EXISTS (
        SELECT 1 FROM points AS p
        WHERE p.market_id = s.market_id AND p.outcome_id = s.outcome_id AND p.side = s.side
            AND p.emitted_at >= s.starts_at - {tolerance} AND p.emitted_at <= s.ends_at + {tolerance}
    )

-- name: nearest_stretches
-- The stretches of time to match again: the affected segments, and the points that are in no segment.
SELECT market_id, outcome_id, side, starts_at, ends_at FROM affected
UNION ALL
SELECT market_id, outcome_id, side, emitted_at, emitted_at FROM points

-- name: nearest_timeline
-- The reports that count, on their timelines: `segment` numbers the stretches of a timeline without a gap
-- longer than the tolerance, `place` orders those of one arm at one moment by report_id, and `candidates`
-- counts the controls within a variant's reach. Only the timelines are numbered in one common order. Their reports
-- are numbered within each timeline, so that a cluster can divide the work.
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

-- name: nearest_apart
-- The reports that are on no timeline, with the reason: outside the window, superseded, or a pass.
SELECT
    g.experiment_id, g.arm,
    CASE
        WHEN g.outside IS NOT NULL THEN g.outside
        WHEN s.report_id IS NOT NULL THEN 'superseded'
        ELSE 'passed'
    END AS reason,
    g.report_id, g.emitted_at, {block} AS block,
    g.market_id, g.outcome_id, g.side, g.correlation_id, g.opportunity_key, g.emitted_at AS opportunity_at
FROM gathered AS g
INNER JOIN terms AS t ON t.experiment_id = g.experiment_id
LEFT JOIN superseded AS s
    ON s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
WHERE g.outside IS NOT NULL OR s.report_id IS NOT NULL OR g.decision = 'passed'

-- name: nearest_stacks
-- Reports of one arm at the same moment form a stack, in the order of their ids. If both arms have a stack at the same
-- moment, its reports have distance zero, so they are matched one by one at once (`taken`) and one stack is used up.
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

-- name: nearest_together
-- The matches of distance zero, made with the stacks.
SELECT
    segment, moment AS control_moment, moment AS variant_moment,
    CAST(0 AS BIGINT) AS control_taken, CAST(0 AS BIGINT) AS variant_taken, taken AS matched
FROM stacks
WHERE arm = 'control' AND taken > 0

-- name: nearest_looked
-- Each stack's nearest stack of the other arm, its `partner`. Stacks without one in reach are left out of all further
-- rounds. If two are equally far, the one whose first id is smaller is taken, and `tied` is true.
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

-- name: nearest_round
-- One round: stacks that are each other's nearest are matched. All possible matches have a total order (by distance,
-- then the control's id, then the variant's id). So the rounds find exactly the matches of a greedy choice in that
-- order, and each round finds at least the first of those that are left.
--
-- Two stacks are matched report by report; after a tie only their first reports, since the next one may be nearer to
-- the stack on the other side.
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

-- name: nearest_left
-- The stacks without the reports that were matched in a round.
SELECT l.segment, l.arm, l.moment, l.height, l.taken + coalesce(f.matched, 0) AS taken
FROM looked AS l
LEFT JOIN (
    SELECT segment, control_moment AS moment, matched FROM found
    UNION ALL
    SELECT segment, variant_moment, matched FROM found
) AS f ON f.segment = l.segment AND f.moment = l.moment
WHERE l.taken + coalesce(f.matched, 0) < l.height

-- name: nearest_heads
-- The first report of each stack that is not matched yet.
SELECT t.segment, t.moment, t.report_id AS id
FROM stacks AS s
INNER JOIN timeline AS t
    ON t.segment = s.segment AND t.moment = s.moment AND t.arm = s.arm AND t.place = s.taken + 1

-- name: nearest_matches
-- The matches of reports, from the matches of stacks.
SELECT c.report_id AS control_report_id, v.report_id AS variant_report_id, v.candidates
FROM links AS m
INNER JOIN timeline AS c
    ON c.arm = 'control' AND c.segment = m.segment AND c.moment = m.control_moment
    AND c.place > m.control_taken AND c.place <= m.control_taken + m.matched
INNER JOIN timeline AS v
    ON v.arm = 'variant' AND v.segment = m.segment AND v.moment = m.variant_moment
    AND v.place - m.variant_taken = c.place - m.control_taken

-- name: nearest_unmatched
-- The reports that count and found no partner within the tolerance.
SELECT
    u.experiment_id, u.arm, u.reason, u.report_id, u.emitted_at, {block} AS block,
    u.market_id, u.outcome_id, u.side, u.correlation_id, u.opportunity_key, u.emitted_at AS opportunity_at
FROM (
    SELECT c.*, 'no_variant' AS reason
    FROM controls AS c
    WHERE NOT EXISTS (SELECT 1 FROM matches AS m WHERE m.control_report_id = c.report_id)
    UNION ALL
    SELECT v.*, 'no_control' AS reason
    FROM variants AS v
    WHERE NOT EXISTS (SELECT 1 FROM matches AS m WHERE m.variant_report_id = v.report_id)
) AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id

-- name: nearest_segments
SELECT
    '{experiment_id}' AS experiment_id, market_id, outcome_id, side,
    min(emitted_at) AS starts_at, max(emitted_at) AS ends_at
FROM timeline
GROUP BY segment, market_id, outcome_id, side
