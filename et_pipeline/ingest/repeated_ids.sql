-- name: repeated_ids
-- Report ids that stand more than once, where at least one of them is new. Keys first: they are numbers.
WITH repeated AS (
    SELECT report_key
    FROM reports
    WHERE report_key IN (SELECT report_key FROM reports WHERE batch >= {first})
    GROUP BY report_key
    HAVING count(*) > 1
)
SELECT report_id, count(*) AS times
FROM reports
WHERE report_key IN (SELECT report_key FROM repeated)
GROUP BY report_id
HAVING count(*) > 1
ORDER BY report_id
