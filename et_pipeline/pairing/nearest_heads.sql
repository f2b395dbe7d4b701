-- name: nearest_heads
-- The first report of each stack that is not matched yet.
SELECT t.segment, t.moment, t.report_id AS id
FROM stacks AS s
INNER JOIN timeline AS t
    ON t.segment = s.segment AND t.moment = s.moment AND t.arm = s.arm AND t.place = s.taken + 1
