-- name: take_out
DELETE FROM reports
WHERE rowid IN (SELECT rowid FROM reports WHERE report_key IN (SELECT report_key FROM losers))
  AND (report_id, content_hash) IN (SELECT (report_id, content_hash) FROM losers)
