-- Each arm's level in addition to the difference. It is filled when an experiment gets new cells, and here for all.
ALTER TABLE series_diagnostics ADD COLUMN mean_control DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN mean_variant DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN relative_change DOUBLE;
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;

COMMENT ON COLUMN series_diagnostics.mean_control IS 'Mean of the control''s values as reported, in the metric''s unit, before winsorising and adjustment; of a ratio metric, the ratio of its totals.';
COMMENT ON COLUMN series_diagnostics.mean_variant IS 'The same of the variant.';
COMMENT ON COLUMN series_diagnostics.relative_change IS 'mean_variant over mean_control, less 1; null for metrics that may be negative, where it would mean nothing.';
