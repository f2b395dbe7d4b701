-- name: rules
-- Everything of a plan that decides which reports pair and what a pair says; changed, all is paired again.
SELECT
    experiment_id, matching, tolerance_us, on_no_trade, mode, time_block_us, starts_at, ends_at,
    control_strategy_id, control_config_version, variant_strategy_id, variant_config_version
FROM experiments
WHERE experiment_id IN (SELECT experiment_id FROM chosen)
ORDER BY experiment_id
