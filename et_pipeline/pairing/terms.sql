-- One row per experiment: what a pair of it needs to know.
SELECT
    e.experiment_id, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade,
    {limits}
FROM experiments AS e
LEFT JOIN experiment_metrics AS m ON m.experiment_id = e.experiment_id
WHERE e.experiment_id IN (SELECT experiment_id FROM chosen)
GROUP BY e.experiment_id, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade
