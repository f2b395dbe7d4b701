-- name: nearest_matches
-- The matched stacks, report by report.
SELECT c.report_id AS control_report_id, v.report_id AS variant_report_id, v.candidates
FROM links AS m
INNER JOIN timeline AS c
    ON c.arm = 'control' AND c.segment = m.segment AND c.moment = m.control_moment
    AND c.place > m.control_taken AND c.place <= m.control_taken + m.matched
INNER JOIN timeline AS v
    ON v.arm = 'variant' AND v.segment = m.segment AND v.moment = m.variant_moment
    AND v.place - m.variant_taken = c.place - m.control_taken
