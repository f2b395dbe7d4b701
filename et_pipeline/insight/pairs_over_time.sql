-- Pairs of one experiment in at most about 60 equal spans of whole blocks.
WITH span AS (
    SELECT block, count(*) AS pairs FROM pairs WHERE experiment_id = $id GROUP BY block
    UNION ALL
    SELECT block, pairs FROM pair_blocks_elsewhere WHERE experiment_id = $id
), width AS (
    SELECT greatest(1, ceil((epoch_us(max(block)) - epoch_us(min(block))) / 60.0 / any_value(e.time_block_us)))::BIGINT
           * any_value(e.time_block_us) AS us
    FROM span, (SELECT time_block_us FROM experiments WHERE experiment_id = $id) AS e
), filled AS (
    SELECT unnest(range((epoch_us(min(block)) // us)::BIGINT, (epoch_us(max(block)) // us)::BIGINT + 1)) AS number
    FROM span, width GROUP BY us
)
SELECT make_timestamp(number * us) AS start, coalesce(sum(pairs), 0)::BIGINT AS pairs
FROM filled CROSS JOIN width LEFT JOIN span ON epoch_us(block) // us = number
GROUP BY number, us ORDER BY number
