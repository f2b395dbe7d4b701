-- With another engine than the warehouse, reports and pairs are stored elsewhere. These tables say where, and have the
-- numbers that people need of them.
CREATE TABLE reports_elsewhere (
    reports BIGINT NOT NULL, newest TIMESTAMP
);
CREATE TABLE pairs_elsewhere (
    experiment_id VARCHAR NOT NULL, run VARCHAR NOT NULL
);
CREATE TABLE pair_blocks_elsewhere (
    experiment_id VARCHAR NOT NULL, block TIMESTAMP NOT NULL, pairs BIGINT NOT NULL
);
CREATE TABLE unmatched_elsewhere (
    experiment_id VARCHAR NOT NULL, arm VARCHAR NOT NULL, reason VARCHAR NOT NULL, reports BIGINT NOT NULL
);

COMMENT ON TABLE reports_elsewhere IS 'Technical: the reports that lie in the data set of a cluster (ET_ENGINE=spark); one row, or none.';
COMMENT ON COLUMN reports_elsewhere.reports IS 'How many there are.';
COMMENT ON COLUMN reports_elsewhere.newest IS 'Time of the newest one (UTC).';
COMMENT ON TABLE pairs_elsewhere IS 'Technical: experiments whose pairs and unmatched reports lie in the data set of a cluster.';
COMMENT ON COLUMN pairs_elsewhere.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN pairs_elsewhere.run IS 'The run that wrote them: they are in pairs/run=<run>/experiment_id=<experiment>.';
COMMENT ON TABLE pair_blocks_elsewhere IS 'Technical: pairs per block, of experiments whose pairs lie in the data set of a cluster.';
COMMENT ON COLUMN pair_blocks_elsewhere.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN pair_blocks_elsewhere.block IS 'Start of the block (UTC).';
COMMENT ON COLUMN pair_blocks_elsewhere.pairs IS 'Pairs of the block.';
COMMENT ON TABLE unmatched_elsewhere IS 'Technical: unmatched reports per arm and reason, of experiments whose pairs lie in the data set of a cluster.';
COMMENT ON COLUMN unmatched_elsewhere.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN unmatched_elsewhere.arm IS 'control or variant.';
COMMENT ON COLUMN unmatched_elsewhere.reason IS 'Why it found no partner.';
COMMENT ON COLUMN unmatched_elsewhere.reports IS 'How many there are.';
