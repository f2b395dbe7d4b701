-- Whether the promised error holds on an experiment's own data; filled by et calibrate and by a weekly job.
CREATE TABLE calibration (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, scheme VARCHAR NOT NULL, flips BIGINT NOT NULL,
    false_share DOUBLE NOT NULL, mc_error DOUBLE NOT NULL, alpha DOUBLE NOT NULL, holds BOOLEAN NOT NULL,
    run_blocks BIGINT, as_of TIMESTAMP NOT NULL, n_pairs BIGINT NOT NULL, method VARCHAR NOT NULL,
    calibrated_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE calibration IS 'Placebo paths from an experiment''s own cells: how often an interval excludes 0 although nothing differs. Filled by et calibrate and by a weekly job, not by a tick.';
COMMENT ON COLUMN calibration.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN calibration.metric IS 'The metric; the primary and the guardrails are calibrated.';
COMMENT ON COLUMN calibration.scheme IS 'What has its sign flipped as one: markets, or blocks (runs of neighbouring blocks).';
COMMENT ON COLUMN calibration.flips IS 'Number of placebo paths.';
COMMENT ON COLUMN calibration.false_share IS 'Share of the paths of which any interval excludes 0 (0 to 1).';
COMMENT ON COLUMN calibration.mc_error IS 'Monte Carlo standard error of that share.';
COMMENT ON COLUMN calibration.alpha IS 'What the plan promises: the share is to be no more.';
COMMENT ON COLUMN calibration.holds IS 'Whether the share is at most alpha and three Monte Carlo errors.';
COMMENT ON COLUMN calibration.run_blocks IS 'Blocks with pairs that are flipped as one; null for markets.';
COMMENT ON COLUMN calibration.as_of IS 'End of the newest block of the cells it was made from (UTC).';
COMMENT ON COLUMN calibration.n_pairs IS 'Pairs behind the cells it was made from.';
COMMENT ON COLUMN calibration.method IS 'How the intervals are made, as in interval_path.method.';
COMMENT ON COLUMN calibration.calibrated_at IS 'When it was computed (UTC).';
