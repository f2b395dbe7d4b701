-- name: stored
-- The stored reports that share a key with an arrival. Rows are found in a scan of one column of 64-bit numbers
-- and then fetched by their row numbers: the cost hardly grows with what is stored.
SELECT * EXCLUDE (batch)
FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM arrivals))
