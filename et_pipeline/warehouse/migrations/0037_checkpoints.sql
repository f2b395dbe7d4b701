-- The sums of a series' cells up to some of its blocks, from which its path is continued. The detector adds up from
-- other blocks than before, so every path is computed anew.
CREATE TABLE series_checkpoints (
    experiment_id VARCHAR NOT NULL, comparison VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    blocks BIGINT NOT NULL, last_block TIMESTAMP NOT NULL, sums BLOB NOT NULL
);

COMMENT ON TABLE series_checkpoints IS 'Technical: a cache of sums over the cells of a series up to some of its blocks, from which its interval path is continued. It may be emptied at any time; nothing changes but the time of the next tick.';
COMMENT ON COLUMN series_checkpoints.experiment_id IS 'The experiment.';
COMMENT ON COLUMN series_checkpoints.comparison IS 'Which arms are compared.';
COMMENT ON COLUMN series_checkpoints.metric IS 'The metric.';
COMMENT ON COLUMN series_checkpoints.blocks IS 'Number of blocks with pairs that are summed.';
COMMENT ON COLUMN series_checkpoints.last_block IS 'Start of the last of them (UTC); valid as long as no cell up to there changes.';
COMMENT ON COLUMN series_checkpoints.sums IS 'The sums: NumPy arrays by name (.npz).';
INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM series_cells;
