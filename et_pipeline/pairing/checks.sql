-- name: balance
-- Arms with reports that are not in exactly one place: in a pair, or in `unmatched` with a reason.
WITH kinds AS (
    SELECT strategy_id, config_version, mode, count(*) AS n
    FROM reports
    GROUP BY strategy_id, config_version, mode
),
paired AS (
    SELECT
        experiment_id, count(*) AS control, count(variant_report_id) AS variant, count(replay_report_id) AS replay
    FROM pairs
    GROUP BY experiment_id
),
placed AS (
    SELECT experiment_id, 'control' AS arm, control AS n FROM paired
    UNION ALL
    SELECT experiment_id, 'variant' AS arm, variant AS n FROM paired
    UNION ALL
    SELECT experiment_id, 'replay' AS arm, replay AS n FROM paired
    UNION ALL
    SELECT experiment_id, arm, count(*) AS n FROM unmatched GROUP BY experiment_id, arm
),
found AS (
    SELECT a.experiment_id, a.arm, sum(k.n) AS told, 0 AS kept
    FROM arms AS a
    INNER JOIN kinds AS k
        ON k.strategy_id = a.strategy_id AND k.mode = a.mode
        AND (a.config_version IS NULL OR k.config_version = a.config_version)
    GROUP BY a.experiment_id, a.arm
    UNION ALL
    SELECT a.experiment_id, a.arm, 0, p.n
    FROM arms AS a
    INNER JOIN placed AS p ON p.experiment_id = a.experiment_id AND p.arm = a.arm
)
SELECT experiment_id, arm, reports, placed
FROM (
    SELECT experiment_id, arm, CAST(sum(told) AS BIGINT) AS reports, CAST(sum(kept) AS BIGINT) AS placed
    FROM found
    GROUP BY experiment_id, arm
) AS counted
WHERE reports <> placed
ORDER BY experiment_id, arm

-- name: counting_differences
-- Metrics whose number of pairs in cells is not the number of pairs with a value, or, where all trades are compared,
-- not each arm's number of trades. Experiments in `failures` are left out, since their cells are not up to date.
WITH counted AS (
    SELECT experiment_id, counted, metric, n FROM (UNPIVOT counted_values ON {metrics} INTO NAME metric VALUE n)
), summed AS (
    SELECT experiment_id, metric, sum(n)::BIGINT AS pairs, sum(n_control)::BIGINT AS control, sum(n_variant)::BIGINT AS variant
    FROM cells GROUP BY experiment_id, metric
), both_counts AS (
    SELECT experiment_id, metric, unnest(['pairs']) AS counted, unnest([pairs]) AS n
    FROM experiment_metrics
    INNER JOIN experiments AS e USING (experiment_id)
    LEFT JOIN summed USING (experiment_id, metric)
    WHERE e.matching <> 'arms'
    UNION ALL
    SELECT experiment_id, metric, unnest(['control trades', 'variant trades']), unnest([control, variant])
    FROM experiment_metrics
    INNER JOIN experiments AS e USING (experiment_id)
    LEFT JOIN summed USING (experiment_id, metric)
    WHERE e.matching = 'arms'
)
SELECT experiment_id, metric, coalesce(counted.n, 0), counted, coalesce(both_counts.n, 0)
FROM both_counts
LEFT JOIN counted USING (experiment_id, metric, counted)
WHERE coalesce(counted.n, 0) <> coalesce(both_counts.n, 0)
    AND experiment_id NOT IN (SELECT experiment_id FROM failures)
ORDER BY experiment_id, metric, counted

-- name: placed_trades
-- The number of each arm's values, for experiments that compare all trades: of the trades that are in a pair or that
-- found no partner in time.
SELECT q.experiment_id, q.arm || ' trades' AS counted, {counts}
FROM (
    SELECT experiment_id, 'control' AS arm, control_report_id AS report_id FROM pairs
    UNION ALL
    SELECT experiment_id, 'variant', variant_report_id FROM pairs
    UNION ALL
    SELECT experiment_id, arm, report_id FROM unmatched WHERE reason IN ('no_variant', 'no_control')
) AS q
INNER JOIN reports AS p ON p.report_id = q.report_id
WHERE {inside}
GROUP BY q.experiment_id, q.arm

-- name: match_rates
-- Experiments and arms in which more than a share of the reports found no partner. In limited live most controls have
-- none by design, since the variant gets only a small share of the traffic. Where all trades are compared, no trade
-- needs a partner. Replays of the control are not part of this check.
WITH paired AS (
    SELECT experiment_id, count(*) AS control, count(variant_report_id) AS variant
    FROM pairs
    GROUP BY experiment_id
),
opportunities AS (
    SELECT experiment_id, 'control' AS arm, control AS found, 0 AS missed FROM paired
    UNION ALL
    SELECT experiment_id, 'variant', variant, 0 FROM paired WHERE variant > 0
    UNION ALL
    SELECT experiment_id, arm, 0, count(*)
    FROM unmatched
    WHERE reason NOT IN ('superseded', 'too_early', 'after_end', 'passed', 'both_passed')
    GROUP BY experiment_id, arm
)
SELECT experiment_id, arm, sum(missed) / sum(found + missed) AS share
FROM opportunities
WHERE
    experiment_id NOT IN (SELECT experiment_id FROM experiments WHERE matching = 'arms')
    AND (
        arm = 'variant'
        OR (arm = 'control' AND experiment_id NOT IN (SELECT experiment_id FROM experiments WHERE mode = 'limited_live'))
    )
GROUP BY experiment_id, arm
HAVING sum(missed) / sum(found + missed) > {most}
ORDER BY experiment_id, arm

-- name: reused_reports
-- Reports that are in more than one pair of an experiment. Pairs with a common report belong to one opportunity or one
-- segment and are written together, so it is enough to check where something changed. If variant and control are the
-- same strategy, the variant's report is the replayed control as well, which is allowed.
WITH changed AS (
    SELECT experiment_id, control_report_id, variant_report_id, replay_report_id FROM pairs
    WHERE (experiment_id, block, market_id) IN (SELECT experiment_id, block, market_id FROM stale_cells)
)
SELECT experiment_id, report_id
FROM (
    SELECT experiment_id, control_report_id AS report_id FROM changed
    UNION ALL
    SELECT experiment_id, variant_report_id FROM changed WHERE variant_report_id IS NOT NULL
    UNION ALL
    SELECT experiment_id, replay_report_id FROM changed WHERE replay_report_id <> coalesce(variant_report_id, '')
) AS used
GROUP BY experiment_id, report_id
HAVING count(*) > 1
ORDER BY experiment_id, report_id
LIMIT 20
