-- name: quarantined
-- Contents that lost a conflict before, of the ids that come again.
SELECT DISTINCT report_id, content_hash
FROM quarantine
WHERE reason = 'conflict' AND report_id IN (SELECT report_id FROM arrivals)
