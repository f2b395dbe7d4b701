-- name: superseded
-- Reports of an arm that a later one for the same opportunity replaces: the last by (emitted_at,
-- emitted_below_us, report_id) counts. A control outside the window is of another time and replaces none inside it.
-- Few opportunities have more than one report of an arm, so only those are put in order.
SELECT experiment_id, arm, report_id, opportunity_key
FROM (
    SELECT
        g.experiment_id, g.arm, g.report_id, g.opportunity_key,
        row_number() OVER (
            PARTITION BY
                g.experiment_id, g.arm, {inside}, g.opportunity_key,
                g.correlation_id, g.market_id, g.outcome_id, g.side
            ORDER BY g.emitted_at DESC, g.emitted_below_us DESC, g.report_id DESC
        ) AS place
    FROM gathered AS g
    WHERE (g.experiment_id, g.arm, g.opportunity_key) IN (
        SELECT experiment_id, arm, opportunity_key FROM gathered
        GROUP BY experiment_id, arm, opportunity_key
        HAVING count(*) > 1
    )
) AS ranked
WHERE place > 1
