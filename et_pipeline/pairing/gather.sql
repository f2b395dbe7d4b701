-- The arms' reports of the opportunities in scope. `place` 1 is the report that counts for its opportunity:
-- the last by (emitted_at, report_id). A control outside the experiment's window is kept apart
-- (`within` false): its opportunity belongs to another time, and so does the variant's answer to it.
SELECT
    *,
    row_number() OVER (
        PARTITION BY experiment_id, arm, within, opportunity_key, correlation_id, market_id, outcome_id, side
        ORDER BY emitted_at DESC, report_id DESC
    ) AS place
FROM (
    SELECT
        a.experiment_id, a.arm,
        a.arm = 'variant' OR (r.emitted_at >= t.starts_at AND r.emitted_at <= t.ends_at) AS within,
        r.report_id, r.emitted_at, r.correlation_id, r.market_id, r.outcome_id, r.side, r.opportunity_key,
        {metrics}
    FROM reports AS r
    INNER JOIN arms AS a
        ON r.strategy_id = a.strategy_id AND r.mode = a.mode
        AND (a.config_version IS NULL OR r.config_version = a.config_version)
    INNER JOIN terms AS t ON t.experiment_id = a.experiment_id
    WHERE {scope}
) AS arm_reports
