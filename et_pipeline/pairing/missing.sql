-- name: missing
-- The pairs of the stale cells in which one metric has no value, see `missing_values`.
SELECT c.experiment_id, m.metric, c.block, c.market_id, g.pairs, g.control, g.variant
FROM stale AS c
INNER JOIN experiment_metrics AS m ON m.experiment_id = c.experiment_id AND m.metric = '{metric}'
INNER JOIN (
    SELECT
        p.cell, count(*) AS pairs,
        CAST(sum(CASE WHEN p.{metric}_missing IN (1, 3) THEN 1 ELSE 0 END) AS BIGINT) AS control,
        CAST(sum(CASE WHEN p.{metric}_missing IN (2, 3) THEN 1 ELSE 0 END) AS BIGINT) AS variant
    FROM stale_pairs AS p
    WHERE p.{metric}_missing > 0
    GROUP BY p.cell
) AS g ON g.cell = c.cell
