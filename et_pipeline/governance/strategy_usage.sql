-- name: strategy_usage
-- Which strategies use this bot: the state of their newest experiment, the last message about them, and the contract
-- under which they last passed shadow (before the first conclusion, the one under which they were registered).
WITH arms AS (
    SELECT experiment_id, control_strategy_id AS strategy_id, registered_at, mode FROM experiments
    UNION
    SELECT experiment_id, variant_strategy_id, registered_at, mode FROM experiments
), transitions AS (
    SELECT experiment_id, seq, to_state, detail->>'$.contract_fingerprint' AS fingerprint
    FROM audit_log WHERE action = 'transition'
), newest AS (
    SELECT experiment_id, arg_max(to_state, seq) AS state FROM transitions GROUP BY experiment_id
), told AS (
    SELECT experiment_id, max(emitted_at) AS last_triggered FROM events GROUP BY experiment_id
), contracts AS (
    SELECT arms.strategy_id, coalesce(
        arg_max(fingerprint, seq) FILTER (to_state = 'concluded' AND mode = 'shadow'),
        arg_min(fingerprint, seq) FILTER (to_state = 'registered')
    ) AS fingerprint
    FROM arms JOIN transitions USING (experiment_id) GROUP BY arms.strategy_id
), used AS (
    SELECT arms.strategy_id, arg_max(newest.state, (arms.registered_at, arms.experiment_id)) AS state,
        max(told.last_triggered) AS last_triggered
    FROM arms JOIN newest USING (experiment_id) LEFT JOIN told USING (experiment_id)
    GROUP BY arms.strategy_id
)
SELECT strategy_id, state, last_triggered, fingerprint, fingerprint IS DISTINCT FROM $fingerprint
FROM used JOIN contracts USING (strategy_id)
ORDER BY strategy_id
