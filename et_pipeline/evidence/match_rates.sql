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
