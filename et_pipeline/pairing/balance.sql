-- name: balance
-- Arms of which not every report is in one place: in a pair, or unmatched for a reason.
WITH kinds AS (
    SELECT strategy_id, config_version, mode, count(*) AS n
    FROM reports
    GROUP BY strategy_id, config_version, mode
),
placed AS (
    SELECT experiment_id, 'control' AS arm, count(*) AS n FROM pairs GROUP BY experiment_id
    UNION ALL
    SELECT experiment_id, 'variant' AS arm, count(variant_report_id) AS n FROM pairs GROUP BY experiment_id
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
