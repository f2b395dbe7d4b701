-- Labels of a report have rules now; they stay where unknown fields are, so what was stored before has them too.
COMMENT ON COLUMN reports.extra IS 'Labels (labels.NAME) and unknown fields of a newer minor schema version, as JSON; null where there are none.';
COMMENT ON COLUMN early_reports.extra IS 'Labels (labels.NAME) and unknown fields of a newer minor schema version, as JSON; null where there are none.';
