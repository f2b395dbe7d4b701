-- name: stored
-- The stored reports with the same key as an arrival. Their rows are found by a scan of one column of 64-bit numbers
-- and then read by their row numbers, so the cost hardly grows with the number of stored reports.
SELECT * EXCLUDE (batch)
FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM arrivals))

-- name: quarantined
-- Contents that lost a conflict before, for ids that arrive again.
SELECT DISTINCT report_id, content_hash
FROM quarantine
WHERE reason = 'conflict' AND report_id IN (SELECT report_id FROM arrivals)

-- name: displace
-- Records reports that are removed again, so that pairing matches their opportunities again.
INSERT INTO displaced
SELECT report_id, strategy_id, config_version, mode, correlation_id, market_id, outcome_id, side, emitted_at,
       opportunity_key, $batch
FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM losers))
  AND (report_id, content_hash) IN (SELECT (report_id, content_hash) FROM losers)

-- name: take_out
DELETE FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM losers))
  AND (report_id, content_hash) IN (SELECT (report_id, content_hash) FROM losers)
