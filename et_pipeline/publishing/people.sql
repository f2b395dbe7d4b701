-- Who gets which notifications.

-- name: not_addressed
-- Events and notices whose recipients have not been determined yet, with their topics (see `directory.TOPICS`).
-- An event without a topic is for other systems only.
WITH told AS (
    SELECT event_id AS source_id, experiment_id, severity, message, 0 AS part, seq,
        CASE
            WHEN kind = 'promotion_review' THEN 'review_request'
            WHEN kind = 'drift_signal' THEN 'drift'
            WHEN reason_code = 'EXPERIMENT_LARGE_SPLIT_WARN' THEN 'split_request'
            WHEN reason_code = 'EXPERIMENT_RESULT' THEN 'result'
            WHEN reason_code = 'EXPERIMENT_STALLED' THEN 'stalled'
        END AS topic
    FROM events
    UNION ALL
    SELECT notice_id, experiment_id, severity, message, 1, seq, topic FROM notices
)
SELECT t.source_id, t.topic, t.experiment_id, e.owner, t.severity, t.message
FROM told AS t
LEFT JOIN experiments AS e USING (experiment_id)
WHERE t.topic IS NOT NULL AND t.source_id NOT IN (SELECT source_id FROM addressed)
ORDER BY t.part, t.seq
