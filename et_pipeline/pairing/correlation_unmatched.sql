-- The reports of the experiment that are in no pair, with the reason. A control belongs to the experiment
-- by its own time, a variant by its opportunity's control, and without any control by its own time.
WITH opportunities AS (
    SELECT
        g.*,
        max(CASE WHEN g.arm = 'control' AND g.within THEN 1 ELSE 0 END) OVER same AS has_control,
        max(CASE WHEN g.arm = 'control' AND NOT g.within THEN 1 ELSE 0 END) OVER same AS has_outside,
        max(CASE WHEN g.arm = 'variant' THEN 1 ELSE 0 END) OVER same AS has_variant
    FROM gathered AS g
    WINDOW same AS (
        PARTITION BY g.experiment_id, g.opportunity_key, g.correlation_id, g.market_id, g.outcome_id, g.side
    )
)
SELECT
    o.experiment_id, o.arm,
    CASE WHEN o.place > 1 THEN 'superseded' WHEN o.arm = 'control' THEN 'no_variant' ELSE 'no_control' END AS reason,
    o.report_id, o.emitted_at, {block} AS block, o.market_id, o.outcome_id, o.side, o.correlation_id,
    o.opportunity_key
FROM opportunities AS o
INNER JOIN terms AS t ON t.experiment_id = o.experiment_id
WHERE
    CASE
        WHEN o.arm = 'control'
            THEN o.within AND (o.place > 1 OR (o.has_variant = 0 AND t.on_no_trade = 'exclude'))
        WHEN o.has_control = 1 THEN o.place > 1
        ELSE o.has_outside = 0 AND o.emitted_at >= t.starts_at AND o.emitted_at <= t.ends_at
    END
