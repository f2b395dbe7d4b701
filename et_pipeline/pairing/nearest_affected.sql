-- name: nearest_affected
-- The segments within reach of a point: only these can be matched differently than before.
SELECT s.experiment_id, s.market_id, s.outcome_id, s.side, s.starts_at, s.ends_at
FROM pairing_segments AS s
WHERE
    s.experiment_id = '{experiment_id}' AND {near}
    AND EXISTS (
        SELECT 1 FROM points AS p
        WHERE p.market_id = s.market_id AND p.outcome_id = s.outcome_id AND p.side = s.side
            AND p.emitted_at >= s.starts_at - {tolerance} AND p.emitted_at <= s.ends_at + {tolerance}
    )
