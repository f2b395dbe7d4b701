-- name: opportunities
-- Opportunities of each arm per block: what was paired, and what found no partner.
SELECT experiment_id, epoch_us(block) AS block, sum(control)::BIGINT AS control, sum(variant)::BIGINT AS variant
FROM (
    SELECT experiment_id, block, 1 AS control, CASE WHEN variant_report_id IS NULL THEN 0 ELSE 1 END AS variant
    FROM pairs WHERE {inside}
    UNION ALL
    SELECT
        experiment_id,
        block,
        CASE WHEN arm = 'control' THEN 1 ELSE 0 END,
        CASE WHEN arm = 'variant' THEN 1 ELSE 0 END
    FROM unmatched WHERE {inside} AND reason NOT IN ('superseded', 'too_early', 'after_end')
) AS opportunities
GROUP BY experiment_id, block
ORDER BY experiment_id, block
