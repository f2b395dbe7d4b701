-- name: nearest_apart
-- The reports that no timeline holds, with the reason: outside the window, superseded, or a pass.
SELECT
    g.experiment_id, g.arm,
    CASE
        WHEN g.outside IS NOT NULL THEN g.outside
        WHEN s.report_id IS NOT NULL THEN 'superseded'
        ELSE 'passed'
    END AS reason,
    g.report_id, g.emitted_at, {block} AS block,
    g.market_id, g.outcome_id, g.side, g.correlation_id, g.opportunity_key, g.emitted_at AS opportunity_at
FROM gathered AS g
INNER JOIN terms AS t ON t.experiment_id = g.experiment_id
LEFT JOIN superseded AS s
    ON s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
WHERE g.outside IS NOT NULL OR s.report_id IS NOT NULL OR g.decision = 'passed'
