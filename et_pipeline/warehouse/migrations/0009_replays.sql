-- How many of the opportunities that the control traded the variant reported, for each block.
CREATE TABLE replays (
    experiment_id VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL, opportunities BIGINT NOT NULL,
    passed BIGINT NOT NULL, assumed BIGINT NOT NULL, missing BIGINT NOT NULL
);

COMMENT ON TABLE replays IS 'Shadow only: what the variant''s reports say of the opportunities that the control traded, a row a block. The rest of them the variant traded too.';
COMMENT ON COLUMN replays.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN replays.as_of IS 'End of the block (UTC).';
COMMENT ON COLUMN replays.opportunities IS 'Opportunities of the block that the control traded.';
COMMENT ON COLUMN replays.passed IS 'Of these, on how many the variant says that it passed.';
COMMENT ON COLUMN replays.assumed IS 'Of these, on how many the variant is assumed to have passed, because it sent no report (on_no_trade: assume_zero).';
COMMENT ON COLUMN replays.missing IS 'Of these, how many have no report of the variant and count for nothing: not replayed yet, or passed without a word.';
