-- Both the mean over pairs and the mean over markets are stored, whichever of them decides.
ALTER TABLE series_diagnostics ADD COLUMN other_weighting VARCHAR;
ALTER TABLE series_diagnostics ADD COLUMN other_uplift DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN other_se DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN other_ci_lower DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN other_ci_upper DOUBLE;
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;

COMMENT ON COLUMN series_diagnostics.other_weighting IS 'Primary only: the weighting that does not decide, markets or pairs; null where there is only one (ratio metrics, estimator bounded, and where all trades are compared).';
COMMENT ON COLUMN series_diagnostics.other_uplift IS 'Mean uplift by that weighting, in the metric''s unit.';
COMMENT ON COLUMN series_diagnostics.other_se IS 'Its standard error.';
COMMENT ON COLUMN series_diagnostics.other_ci_lower IS 'Lower end of its interval; null before anything can be said.';
COMMENT ON COLUMN series_diagnostics.other_ci_upper IS 'Upper end of its interval; null before anything can be said.';
