-- The reports that the workers read, of files that could be read to their end.
SELECT {columns}
FROM readings AS r
INNER JOIN offsets AS o ON o.snapshot_id = r.snapshot_id AND o.part = r.part
WHERE r.what = '{what}'
