-- The interval for one look uses the same serially robust standard error as the path, so every row is computed again.
INSERT INTO stale_paths SELECT experiment_id, TIMESTAMP '1970-01-01' FROM experiments;

COMMENT ON COLUMN interval_path.fixed_ci_lower IS 'Lower end of the interval for an analysis planned for one look (same standard error, t quantile), valid at one row only; never used for a verdict.';
COMMENT ON COLUMN interval_path.fixed_ci_upper IS 'Upper end of the interval for an analysis planned for one look (same standard error, t quantile), valid at one row only; never used for a verdict.';
COMMENT ON COLUMN intervals.fixed_ci_lower IS 'Lower end of the interval for an analysis planned for one look (same standard error, t quantile), valid at one row only; never used for a verdict.';
COMMENT ON COLUMN intervals.fixed_ci_upper IS 'Upper end of the interval for an analysis planned for one look (same standard error, t quantile), valid at one row only; never used for a verdict.';
