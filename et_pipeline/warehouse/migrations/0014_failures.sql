-- Errors that were raised for one experiment while the others went on.
CREATE TABLE failures (
    experiment_id VARCHAR NOT NULL, stage VARCHAR NOT NULL, since TIMESTAMP NOT NULL, error VARCHAR NOT NULL,
    sentence VARCHAR NOT NULL, traceback VARCHAR NOT NULL
);
COMMENT ON TABLE failures IS 'Experiments for which a stage of the last tick raised an error; the others went on. A row goes away when the stage works again.';
COMMENT ON COLUMN failures.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN failures.stage IS 'plan, sign_offs, pairing, cells, evidence, decision or page; later stages of the same tick left the experiment out.';
COMMENT ON COLUMN failures.since IS 'When it failed first (UTC).';
COMMENT ON COLUMN failures.error IS 'Type and message of the error.';
COMMENT ON COLUMN failures.sentence IS 'The same in one sentence.';
COMMENT ON COLUMN failures.traceback IS 'Where in the program it was raised.';
