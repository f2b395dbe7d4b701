-- Pairs of each experiment in at most about 60 equal spans of whole blocks.
WITH span AS (
    SELECT experiment_id, block, count(*) AS pairs FROM pairs WHERE experiment_id IN (SELECT unnest($ids)) GROUP BY ALL
    UNION ALL
    SELECT experiment_id, block, pairs FROM pair_blocks_elsewhere WHERE experiment_id IN (SELECT unnest($ids))
), width AS (
    SELECT experiment_id, epoch_us(min(block)) AS first, epoch_us(max(block)) AS last, any_value(time_block_us)
           * greatest(1, ceil((epoch_us(max(block)) - epoch_us(min(block))) / 60.0 / any_value(time_block_us)))::BIGINT AS us
    FROM span JOIN experiments USING (experiment_id) GROUP BY experiment_id
), filled AS (
    SELECT experiment_id, us, unnest(range((first // us)::BIGINT, (last // us)::BIGINT + 1)) AS number FROM width
)
SELECT f.experiment_id, make_timestamp(number * us) AS start, coalesce(sum(pairs), 0)::BIGINT AS pairs
FROM filled AS f LEFT JOIN span AS s ON s.experiment_id = f.experiment_id AND epoch_us(block) // us = number
GROUP BY f.experiment_id, number, us ORDER BY f.experiment_id, number
