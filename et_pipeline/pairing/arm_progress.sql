-- name: arm_progress
-- Per experiment the time of the newest opportunity that each arm has reported.
SELECT experiment_id, max(control_until) AS control_until, max(variant_until) AS variant_until
FROM (
    SELECT
        experiment_id, max(pair_time) AS control_until,
        max(CASE WHEN variant_report_id IS NOT NULL THEN pair_time END) AS variant_until
    FROM pairs
    WHERE {inside}
    GROUP BY experiment_id
    UNION ALL
    SELECT
        experiment_id, max(CASE WHEN arm = 'control' THEN emitted_at END),
        max(CASE WHEN arm = 'variant' THEN opportunity_at END)
    FROM unmatched
    WHERE {inside}
    GROUP BY experiment_id
) AS newest
GROUP BY experiment_id
