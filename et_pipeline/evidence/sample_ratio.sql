-- name: opportunities
-- Number of opportunities of each arm per block and market: those that were paired, and those without a partner.
SELECT experiment_id, epoch_us(block) AS block, market_id, sum(control)::BIGINT AS control, sum(variant)::BIGINT AS variant
FROM (
    SELECT experiment_id, block, market_id, 1 AS control, CASE WHEN variant_report_id IS NULL THEN 0 ELSE 1 END AS variant
    FROM pairs WHERE {inside}
    UNION ALL
    SELECT
        experiment_id,
        block,
        market_id,
        CASE WHEN arm = 'control' THEN 1 ELSE 0 END,
        CASE WHEN arm = 'variant' THEN 1 ELSE 0 END
    FROM unmatched WHERE {inside} AND reason NOT IN ('superseded', 'too_early', 'after_end')
) AS opportunities
GROUP BY experiment_id, block, market_id
ORDER BY experiment_id, block, market_id

-- name: splits
-- The planned split of each experiment as it was registered, and every later change of it, in order of time. A change
-- happened after the tick that last read the plan without it and before the tick that recorded it.
WITH plans AS (
    SELECT
        experiment_id, seq, recorded_at, action,
        greatest(
            (detail->>'$.unchanged_until')::TIMESTAMP,
            lag(recorded_at) OVER (PARTITION BY experiment_id ORDER BY seq)
        ) AS unchanged_until,
        CASE action
            WHEN 'plan_registered' THEN detail->>'$.plan.traffic_split_pct'
            ELSE detail->>'$.changes.traffic_split_pct[1]'
        END::DOUBLE / 100 AS split
    FROM audit_log
    WHERE action IN ('plan_registered', 'plan_amended') AND {inside}
)
SELECT experiment_id, epoch_us(unchanged_until) AS after, epoch_us(recorded_at) AS until, split
FROM plans
WHERE split IS NOT NULL
ORDER BY experiment_id, seq

-- name: match_rates
-- Share of each arm's opportunities that found no partner, and candidates per variant (nearest matching).
WITH found AS (
    SELECT experiment_id, count(*) AS n, count(variant_report_id) AS n_variant, avg(candidates) AS candidates
    FROM pairs WHERE {inside} GROUP BY experiment_id
), missed AS (
    SELECT
        experiment_id,
        count(CASE WHEN arm = 'control' THEN 1 END) AS control,
        count(CASE WHEN arm = 'variant' THEN 1 END) AS variant
    FROM unmatched WHERE {inside} AND reason NOT IN ('superseded', 'too_early', 'after_end', 'passed', 'both_passed') GROUP BY experiment_id
)
SELECT
    f.experiment_id,
    (coalesce(m.control, 0) + f.n - f.n_variant) / nullif(f.n + coalesce(m.control, 0), 0) AS control,
    coalesce(m.variant, 0) / nullif(f.n_variant + coalesce(m.variant, 0), 0) AS variant,
    f.candidates
FROM found AS f LEFT JOIN missed AS m ON m.experiment_id = f.experiment_id
