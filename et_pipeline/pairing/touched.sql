-- name: touched
-- The opportunities with a new report, or with one that a conflict took out again.
SELECT DISTINCT a.experiment_id, n.opportunity_key
FROM (
    SELECT strategy_id, config_version, mode, opportunity_key, batch FROM reports WHERE batch > {after}
    UNION ALL
    SELECT strategy_id, config_version, mode, opportunity_key, batch FROM displaced WHERE batch > {after}
) AS n
INNER JOIN arms AS a
    ON n.strategy_id = a.strategy_id AND n.mode = a.mode
    AND (a.config_version IS NULL OR n.config_version = a.config_version)
INNER JOIN behind AS b ON b.experiment_id = a.experiment_id AND n.batch > b.batch
