-- name: changed_since
-- Whether reports of an experiment's arms came after its verdict was announced, and which keys of its plan were
-- amended since then. If reports are stored elsewhere, any snapshot with reports counts.
WITH announced AS (
    SELECT max(seq) AS seq, max(recorded_at) AS at, max((detail->>'$.batch')::BIGINT) AS batch
    FROM audit_log WHERE experiment_id = $id AND action = 'transition' AND to_state = 'concluded'
), later AS (
    SELECT batch, reports FROM snapshots
    WHERE batch > (SELECT coalesce(
        announced.batch, (SELECT max(batch) FROM snapshots WHERE ingested_at <= announced.at), 0
    ) FROM announced)
), arms AS (
    SELECT unnest([control_strategy_id, variant_strategy_id]) AS strategy_id
    FROM experiments WHERE experiment_id = $id
)
SELECT
    EXISTS (
        SELECT 1 FROM reports
        WHERE batch >= (SELECT min(batch) FROM later) AND strategy_id IN (SELECT strategy_id FROM arms)
    ) OR EXISTS (
        SELECT 1 FROM displaced
        WHERE batch >= (SELECT min(batch) FROM later) AND strategy_id IN (SELECT strategy_id FROM arms)
    ) OR (NOT EXISTS (SELECT 1 FROM reports) AND EXISTS (SELECT 1 FROM later WHERE reports > 0)),
    coalesce((
        SELECT list(DISTINCT key ORDER BY key)
        FROM (
            SELECT unnest(json_keys(detail, '$.changes')) AS key FROM audit_log
            WHERE experiment_id = $id AND action = 'plan_amended' AND seq > (SELECT seq FROM announced)
        ) AS amended
        WHERE key IN ('ends_at', 'traffic_split_pct')
    ), [])
