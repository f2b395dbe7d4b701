-- name: missing_values
-- Pairs without a value of one metric, whole and by block: in either arm, the control's, the variant's; blocks with
-- such a pair, the last one, and the one with the highest share of them.
WITH lacking AS (
    SELECT block, sum(pairs) AS pairs, sum(control) AS control, sum(variant) AS variant
    FROM missing_values
    WHERE experiment_id = $experiment_id AND metric = $metric GROUP BY block
), valued AS (
    SELECT block, sum(n) AS pairs
    FROM cells
    WHERE experiment_id = $experiment_id AND metric = $metric AND block IN (SELECT block FROM lacking) GROUP BY block
), shares AS (
    SELECT lacking.*, (lacking.pairs / (lacking.pairs + coalesce(valued.pairs, 0)))::DOUBLE AS share
    FROM lacking LEFT JOIN valued USING (block)
)
SELECT
    coalesce(sum(pairs), 0)::BIGINT, coalesce(sum(control), 0)::BIGINT, coalesce(sum(variant), 0)::BIGINT,
    count(*), max(block), max(share), arg_min(block, (-share, block))
FROM shares
