-- Opportunities of each arm per block: what was paired, and what found no partner.
SELECT epoch_us(block) AS block, sum(control)::BIGINT AS control, sum(variant)::BIGINT AS variant
FROM (
    SELECT block, 1 AS control, (variant_report_id IS NOT NULL)::INTEGER AS variant
    FROM pairs WHERE experiment_id = $experiment_id
    UNION ALL
    SELECT block, (arm = 'control')::INTEGER, (arm = 'variant')::INTEGER
    FROM unmatched WHERE experiment_id = $experiment_id AND reason <> 'superseded'
) AS opportunities
GROUP BY block
ORDER BY block
