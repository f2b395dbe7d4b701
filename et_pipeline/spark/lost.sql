-- Contents that lost a conflict before.
SELECT DISTINCT report_id, content_hash FROM quarantine WHERE reason = 'conflict'
