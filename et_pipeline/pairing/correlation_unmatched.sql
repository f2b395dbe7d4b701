-- The reports of the experiment that are in no pair, with the reason. A control belongs to the experiment by
-- its own time; a variant by its opportunity's control, and where there is none at all by its own time.
WITH alone AS (
    SELECT c.*, 'no_variant' AS reason
    FROM controls AS c
    INNER JOIN terms AS t ON t.experiment_id = c.experiment_id AND t.on_no_trade = 'exclude'
    WHERE NOT EXISTS (
        SELECT 1 FROM variants AS v
        WHERE v.experiment_id = c.experiment_id AND v.opportunity_key = c.opportunity_key
            AND v.correlation_id = c.correlation_id AND v.market_id = c.market_id
            AND v.outcome_id = c.outcome_id AND v.side = c.side
    )
    UNION ALL
    SELECT v.*, 'no_control' AS reason
    FROM variants AS v
    WHERE v.within AND NOT EXISTS (
        SELECT 1 FROM gathered AS c
        WHERE c.arm = 'control' AND c.experiment_id = v.experiment_id AND c.opportunity_key = v.opportunity_key
            AND c.correlation_id = v.correlation_id AND c.market_id = v.market_id
            AND c.outcome_id = v.outcome_id AND c.side = v.side
    )
),
replaced AS (
    SELECT g.*, 'superseded' AS reason
    FROM gathered AS g
    INNER JOIN superseded AS s
        ON s.experiment_id = g.experiment_id AND s.arm = g.arm AND s.report_id = g.report_id
    LEFT JOIN (
        SELECT
            experiment_id, opportunity_key, correlation_id, market_id, outcome_id, side,
            max(CASE WHEN within THEN 1 ELSE 0 END) AS within
        FROM gathered
        WHERE arm = 'control' AND opportunity_key IN (SELECT opportunity_key FROM superseded)
        GROUP BY experiment_id, opportunity_key, correlation_id, market_id, outcome_id, side
    ) AS c
        ON c.experiment_id = g.experiment_id AND c.opportunity_key = g.opportunity_key
        AND c.correlation_id = g.correlation_id AND c.market_id = g.market_id
        AND c.outcome_id = g.outcome_id AND c.side = g.side
    WHERE CASE WHEN g.arm = 'control' OR c.within IS NULL THEN g.within ELSE c.within = 1 END
)
SELECT
    u.experiment_id, u.arm, u.reason, u.report_id, u.emitted_at, {block} AS block,
    u.market_id, u.outcome_id, u.side, u.correlation_id, u.opportunity_key
FROM (SELECT * FROM alone UNION ALL SELECT * FROM replaced) AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id
