-- name: gather
-- The arms' reports of the opportunities in scope; `outside` says why one lies not within its experiment's window.
SELECT
    a.experiment_id, a.arm,
    CASE
        WHEN r.emitted_at < t.starts_at THEN 'too_early'
        WHEN r.emitted_at >= t.ends_at THEN 'after_end'
    END AS outside,
    coalesce(r.decision, 'traded') AS decision,
    r.report_id, r.emitted_at, coalesce(r.emitted_below_us, 0) AS emitted_below_us, r.correlation_id, r.market_id, r.outcome_id, r.side, r.opportunity_key,
    {metrics}
FROM {reports} AS r
INNER JOIN arms AS a
    ON r.strategy_id = a.strategy_id AND r.mode = a.mode
    AND (a.config_version IS NULL OR r.config_version = a.config_version)
INNER JOIN terms AS t ON t.experiment_id = a.experiment_id
WHERE {scope}
