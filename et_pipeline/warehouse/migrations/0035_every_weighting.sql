-- The primary has both weightings with every estimator; every path is computed anew for the one that does not decide.
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;

COMMENT ON COLUMN series_diagnostics.other_weighting IS 'Primary only: the weighting that does not decide, markets or pairs; where all trades are compared, pairs is the mean over trades.';
COMMENT ON COLUMN series_diagnostics.other_uplift IS 'Mean uplift by that weighting, in the metric''s unit; null before anything can be said.';
