-- name: terms
-- One row per experiment: what a pair of it needs to know.
SELECT
    e.experiment_id, e.mode, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade,
    -- without a report of the variant, controls in blocks before this one count as passed on
    CASE
        WHEN e.on_no_trade = 'assume_zero'
            THEN make_timestamp(epoch_us(max(a.variant_until)) // e.time_block_us * e.time_block_us)
    END AS assumed_before,
    {limits}
FROM experiments AS e
LEFT JOIN experiment_metrics AS m ON m.experiment_id = e.experiment_id
LEFT JOIN arm_progress AS a ON a.experiment_id = e.experiment_id
WHERE e.experiment_id IN (SELECT experiment_id FROM chosen)
GROUP BY e.experiment_id, e.mode, e.starts_at, e.ends_at, e.time_block_us, e.on_no_trade
