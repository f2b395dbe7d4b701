-- name: arms
-- One row per experiment and arm: which reports belong to it. A shadow variant's reports are replays.
WITH watched AS (
    SELECT * FROM experiments WHERE experiment_id IN (SELECT experiment_id FROM chosen)
)
SELECT
    experiment_id, 'control' AS arm, control_strategy_id AS strategy_id, control_config_version AS config_version,
    'live' AS mode
FROM watched
UNION ALL
SELECT
    experiment_id, 'variant', variant_strategy_id, variant_config_version,
    CASE WHEN mode = 'shadow' THEN 'replay' ELSE 'live' END
FROM watched
