-- name: waiting
-- Whose reports wait because their time lies ahead of the clock.
SELECT bot_id, count(*) AS lines, min(emitted_at) AS first_due, max(emitted_at) AS last_due
FROM early_reports
GROUP BY bot_id
ORDER BY bot_id
