-- The lines for quarantine.
SELECT r.snapshot_id, r.line + o.lines_before AS line, r.reason, r.sentence, r.raw
FROM readings AS r
INNER JOIN offsets AS o ON o.snapshot_id = r.snapshot_id AND o.part = r.part
WHERE r.what = 'bad'
