-- name: wake
-- The next time at which a tick would have another result without new inputs.
SELECT min(moment)
FROM (
    SELECT date_trunc('day', $now) + INTERVAL 1 DAY AS moment
    UNION ALL
    SELECT starts_at FROM experiments
    UNION ALL
    SELECT ends_at + to_microseconds(time_block_us) FROM experiments
    UNION ALL
    SELECT min(emitted_at) - to_microseconds($max_clock_skew_us::BIGINT) FROM early_reports
    UNION ALL
    SELECT max(ingested_at) + to_microseconds($stall_after_us::BIGINT) FROM snapshots
    UNION ALL
    SELECT $now + INTERVAL 10 MINUTE WHERE EXISTS (FROM failures)  -- what failed is tried again
) AS moments
WHERE moment > $now
