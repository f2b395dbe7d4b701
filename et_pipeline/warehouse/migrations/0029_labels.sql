-- A report's labels have rules now. They are still stored with the unknown fields, so older reports have them too.
COMMENT ON COLUMN reports.extra IS 'Labels (labels.NAME) and unknown fields of a newer minor schema version, as JSON; null where there are none.';
COMMENT ON COLUMN early_reports.extra IS 'Labels (labels.NAME) and unknown fields of a newer minor schema version, as JSON; null where there are none.';
