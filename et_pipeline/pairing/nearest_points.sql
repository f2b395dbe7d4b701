-- name: nearest_points
-- Where on the timelines something changed: at the reports of touched opportunities, and where a report was
-- that a conflict took out again.
SELECT market_id, outcome_id, side, emitted_at FROM gathered WHERE outside IS NULL
UNION
SELECT d.market_id, d.outcome_id, d.side, d.emitted_at
FROM displaced AS d
INNER JOIN arms AS a
    ON d.strategy_id = a.strategy_id AND d.mode = a.mode
    AND (a.config_version IS NULL OR d.config_version = a.config_version)
INNER JOIN behind AS b ON b.experiment_id = a.experiment_id AND d.batch > b.batch
