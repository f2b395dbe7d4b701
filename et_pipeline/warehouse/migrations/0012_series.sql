-- Each of these tables holds all series, that is everything that has an interval. The tables with the old names become
-- views of the uplift alone (see `warehouse/views.py`).
ALTER TABLE cells RENAME TO series_cells;
ALTER TABLE interval_path RENAME TO series_interval_path;
ALTER TABLE intervals RENAME TO series_intervals;
ALTER TABLE diagnostics RENAME TO series_diagnostics;
ALTER TABLE drift RENAME TO series_drift;
ALTER TABLE series_cells ADD COLUMN comparison VARCHAR DEFAULT 'uplift';
ALTER TABLE series_interval_path ADD COLUMN comparison VARCHAR DEFAULT 'uplift';
ALTER TABLE series_intervals ADD COLUMN comparison VARCHAR DEFAULT 'uplift';
ALTER TABLE series_diagnostics ADD COLUMN comparison VARCHAR DEFAULT 'uplift';
ALTER TABLE series_drift ADD COLUMN comparison VARCHAR DEFAULT 'uplift';

COMMENT ON TABLE series_cells IS 'Technical: the cells of every series; cells has those of the uplift.';
COMMENT ON TABLE series_interval_path IS 'Technical: the interval paths of every series; interval_path has those of the uplift.';
COMMENT ON TABLE series_intervals IS 'Technical: the newest interval of every series; intervals has those of the uplift.';
COMMENT ON TABLE series_diagnostics IS 'Technical: the diagnostics of every series that has them; diagnostics has those of the uplift.';
COMMENT ON TABLE series_drift IS 'Technical: the change detector of every series that has one; drift has those of the uplift.';
COMMENT ON COLUMN series_cells.comparison IS 'Which two arms are compared: uplift is the variant against the control.';
COMMENT ON COLUMN series_interval_path.comparison IS 'Which two arms are compared: uplift is the variant against the control.';
COMMENT ON COLUMN series_intervals.comparison IS 'Which two arms are compared: uplift is the variant against the control.';
COMMENT ON COLUMN series_diagnostics.comparison IS 'Which two arms are compared: uplift is the variant against the control.';
COMMENT ON COLUMN series_drift.comparison IS 'Which two arms are compared: uplift is the variant against the control.';
