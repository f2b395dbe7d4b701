-- name: arm_progress
-- For each experiment the time of the newest opportunity that each arm has reported. Replays of the control from before
-- the experiment's window do not count.
SELECT
    experiment_id, max(control_until) AS control_until, max(variant_until) AS variant_until,
    max(replay_until) AS replay_until
FROM (
    SELECT
        experiment_id, max(pair_time) AS control_until,
        max(CASE WHEN variant_report_id IS NOT NULL THEN pair_time END) AS variant_until,
        max(CASE WHEN replay_report_id IS NOT NULL THEN pair_time END) AS replay_until
    FROM pairs
    WHERE {inside}
    GROUP BY experiment_id
    UNION ALL
    SELECT
        experiment_id, max(CASE WHEN arm = 'control' THEN emitted_at END),
        max(CASE WHEN arm = 'variant' THEN opportunity_at END),
        max(CASE WHEN arm = 'replay' AND reason <> 'too_early' THEN opportunity_at END)
    FROM unmatched
    WHERE {inside}
    GROUP BY experiment_id
) AS newest
GROUP BY experiment_id

-- name: replayed_until
-- For each experiment the time of the newest opportunity that the variant has reported, read from the reports. The time
-- of an opportunity is that of its control's last report, within the window if there is one there.
SELECT
    experiment_id, CAST(NULL AS TIMESTAMP) AS control_until, max(moment) AS variant_until,
    CAST(NULL AS TIMESTAMP) AS replay_until
FROM (
    SELECT
        c.experiment_id,
        coalesce(max(CASE WHEN c.inside THEN c.emitted_at END), max(c.emitted_at)) AS moment
    FROM (
        SELECT
            a.experiment_id, r.opportunity_key, r.correlation_id, r.market_id, r.outcome_id, r.side, r.emitted_at,
            r.emitted_at >= t.starts_at AND r.emitted_at < t.ends_at AS inside
        FROM reports AS r
        INNER JOIN arms AS a
            ON a.arm = 'control' AND r.strategy_id = a.strategy_id AND r.mode = a.mode
            AND (a.config_version IS NULL OR r.config_version = a.config_version)
        INNER JOIN terms AS t ON t.experiment_id = a.experiment_id
        WHERE a.{inside}
    ) AS c
    INNER JOIN (
        SELECT DISTINCT
            a.experiment_id, r.opportunity_key, r.correlation_id, r.market_id, r.outcome_id, r.side
        FROM reports AS r
        INNER JOIN arms AS a
            ON a.arm = 'variant' AND r.strategy_id = a.strategy_id AND r.mode = a.mode
            AND (a.config_version IS NULL OR r.config_version = a.config_version)
        WHERE a.{inside}
    ) AS v
        ON v.experiment_id = c.experiment_id AND v.opportunity_key = c.opportunity_key
        AND v.correlation_id = c.correlation_id AND v.market_id = c.market_id
        AND v.outcome_id = c.outcome_id AND v.side = c.side
    GROUP BY
        c.experiment_id, c.opportunity_key, c.correlation_id, c.market_id, c.outcome_id, c.side
) AS opportunities
GROUP BY experiment_id

-- name: unsettled
-- The opportunities without a report of the variant whose state (unmatched, or a pass) does not fit how far the
-- variant's reports have come.
SELECT u.experiment_id, u.opportunity_key
FROM unmatched AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id
WHERE u.{inside} AND u.reason = 'not_replayed' AND u.block < t.assumed_before
UNION
SELECT p.experiment_id, p.opportunity_key
FROM pairs AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE p.{inside} AND p.variant_report_id IS NULL AND (t.assumed_before IS NULL OR p.block >= t.assumed_before)
