-- Pairs without a value by metric and block, in order of time.
SELECT
    m.experiment_id, m.block + to_microseconds(e.time_block_us) AS as_of, m.metric,
    sum(m.pairs)::BIGINT, sum(m.control)::BIGINT, sum(m.variant)::BIGINT
FROM missing_values AS m
JOIN experiments AS e USING (experiment_id)
WHERE list_contains(?, m.experiment_id)
GROUP BY m.experiment_id, m.metric, m.block, e.time_block_us
ORDER BY m.experiment_id, as_of, m.metric
