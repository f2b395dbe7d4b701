-- Limited live: did the control's own level change when the variant began, and is the split the planned one within each
-- market and hour? Experiments that compare all trades are paired again, to get cells of the control from before them.
DELETE FROM pairing_progress WHERE experiment_id IN (SELECT experiment_id FROM experiments WHERE matching = 'arms');

ALTER TABLE series_diagnostics ADD COLUMN control_trades_before BIGINT;
ALTER TABLE series_diagnostics ADD COLUMN control_moved DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN control_moved_lower DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN control_moved_upper DOUBLE;
ALTER TABLE series_diagnostics ADD COLUMN control_sentence VARCHAR;

COMMENT ON COLUMN series_cells.comparison IS 'Which two arms are compared: uplift is the variant against the control; before holds the control''s trades from before the experiment.';
COMMENT ON COLUMN series_diagnostics.control_trades_before IS 'Where all trades are compared: the control''s trades before starts_at, back for as long as the plan lasts.';
COMMENT ON COLUMN series_diagnostics.control_moved IS 'The control''s mean since starts_at less its mean before, in the metric''s unit; null where too little is known.';
COMMENT ON COLUMN series_diagnostics.control_moved_lower IS 'Lower end of its interval, which is valid at every block end.';
COMMENT ON COLUMN series_diagnostics.control_moved_upper IS 'Upper end of its interval.';
COMMENT ON COLUMN series_diagnostics.control_sentence IS 'What that says of the control''s own level, for people; it blocks nothing.';

CREATE TABLE sample_ratio_within (
    experiment_id VARCHAR NOT NULL, dimension VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL,
    e_value DOUBLE NOT NULL, alarm BOOLEAN NOT NULL
);
CREATE TABLE sample_ratio_groups (
    experiment_id VARCHAR NOT NULL, dimension VARCHAR NOT NULL, value VARCHAR NOT NULL,
    n_control BIGINT NOT NULL, n_variant BIGINT NOT NULL, planned_share DOUBLE, observed_share DOUBLE,
    e_value DOUBLE NOT NULL, stands BOOLEAN NOT NULL
);

COMMENT ON TABLE sample_ratio_within IS 'Limited live that compares all trades: is the split the planned one within markets, and within hours of the day? One row a block.';
COMMENT ON COLUMN sample_ratio_within.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN sample_ratio_within.dimension IS 'market, or hour: the hour of the day (UTC).';
COMMENT ON COLUMN sample_ratio_within.as_of IS 'End of the block (UTC).';
COMMENT ON COLUMN sample_ratio_within.e_value IS 'Mean of the e-values of the groups seen so far, see sample_ratio_groups.';
COMMENT ON COLUMN sample_ratio_within.alarm IS 'Whether this mean has reached 1,000 by then: the split is not the planned one within groups. It keeps a verdict away.';
COMMENT ON TABLE sample_ratio_groups IS 'Limited live that compares all trades: the split within each market and hour of the day.';
COMMENT ON COLUMN sample_ratio_groups.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN sample_ratio_groups.dimension IS 'market, or hour: the hour of the day (UTC).';
COMMENT ON COLUMN sample_ratio_groups.value IS 'The market, or the hour, 0 to 23.';
COMMENT ON COLUMN sample_ratio_groups.n_control IS 'Opportunities of the control in it.';
COMMENT ON COLUMN sample_ratio_groups.n_variant IS 'Opportunities of the variant in it.';
COMMENT ON COLUMN sample_ratio_groups.planned_share IS 'Planned share of the variant; the mean of the splits in force where it was changed.';
COMMENT ON COLUMN sample_ratio_groups.observed_share IS 'Observed share of the variant.';
COMMENT ON COLUMN sample_ratio_groups.e_value IS 'Evidence against the planned split within it, at most 1e12.';
COMMENT ON COLUMN sample_ratio_groups.stands IS 'Whether it is told as off: e-BH over all groups of the dimension, at most 5 % of those told are false ones.';
