-- Share of each arm's opportunities that found no partner, and candidates per variant (nearest matching).
WITH found AS (
    SELECT count(*) AS n, count(variant_report_id) AS n_variant, avg(candidates) AS candidates
    FROM pairs WHERE experiment_id = '{experiment_id}'
), missed AS (
    SELECT count(CASE WHEN arm = 'control' THEN 1 END) AS control, count(CASE WHEN arm = 'variant' THEN 1 END) AS variant
    FROM unmatched WHERE experiment_id = '{experiment_id}' AND reason <> 'superseded'
)
SELECT
    (control + n - n_variant) / nullif(n + control, 0),
    variant / nullif(n_variant + variant, 0),
    candidates
FROM found, missed
