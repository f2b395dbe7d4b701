-- Windows that began before their registration, and splits that changed during an experiment.
ALTER TABLE verdicts ADD COLUMN registered_in_hindsight BOOLEAN DEFAULT false;
ALTER TABLE verdicts ADD COLUMN already_there DOUBLE;
COMMENT ON COLUMN verdicts.registered_in_hindsight IS 'Whether the window began before the experiment was registered, so that it may have been chosen after seeing its data; false for plans that say sample.';
COMMENT ON COLUMN verdicts.already_there IS 'Of such a window: the share of the pairs behind the verdict in blocks that had begun before the registration (0 to 1); null elsewhere.';
COMMENT ON COLUMN verdicts.contradicted IS 'Whether the announced verdict no longer follows from the evidence; the sentence says what changed.';
COMMENT ON COLUMN sample_ratio.n_control IS 'Opportunities of the control so far, since the split in force then began.';
COMMENT ON COLUMN sample_ratio.n_variant IS 'Opportunities of the variant so far, since the split in force then began.';
COMMENT ON COLUMN sample_ratio.planned_share IS 'Share of the variant by the split that was in force then.';
