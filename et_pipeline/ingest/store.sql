-- name: stored
-- The stored reports that share a key with an arrival. Rows are found in a scan of one column of 64-bit numbers
-- and then fetched by their row numbers: the cost hardly grows with what is stored.
SELECT * EXCLUDE (batch)
FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM arrivals))

-- name: quarantined
-- Contents that lost a conflict before, of the ids that come again.
SELECT DISTINCT report_id, content_hash
FROM quarantine
WHERE reason = 'conflict' AND report_id IN (SELECT report_id FROM arrivals)

-- name: displace
-- Notes reports that are taken out again, for pairing to rework their opportunities.
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
