-- name: displace
-- Notes reports that are taken out again, for pairing to rework their opportunities.
INSERT INTO displaced
SELECT report_id, strategy_id, config_version, mode, correlation_id, market_id, outcome_id, side, emitted_at,
       opportunity_key, $batch
FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM losers))
  AND (report_id, content_hash) IN (SELECT (report_id, content_hash) FROM losers)
