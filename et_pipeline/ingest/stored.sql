-- The stored reports that share a key with an arrival: one scan of a column of 64-bit numbers.
SELECT * EXCLUDE (batch)
FROM reports
WHERE report_key IN (SELECT report_key FROM arrivals)
