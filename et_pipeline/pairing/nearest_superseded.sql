SELECT
    g.experiment_id, g.arm, 'superseded' AS reason, g.report_id, g.emitted_at, {block} AS block,
    g.market_id, g.outcome_id, g.side, g.correlation_id, g.opportunity_key
FROM gathered AS g
INNER JOIN superseded AS s
    ON s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
INNER JOIN terms AS t ON t.experiment_id = g.experiment_id
