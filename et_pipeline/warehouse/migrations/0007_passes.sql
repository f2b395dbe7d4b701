-- A report may say that the strategy passed on the opportunity. All existing reports say that it traded.
ALTER TABLE reports ADD COLUMN decision VARCHAR DEFAULT 'traded';
ALTER TABLE early_reports ADD COLUMN decision VARCHAR DEFAULT 'traded';
-- Before this migration a missing replay counted as zero edge. Plans that were frozen with that rule get its new name. In
-- limited live the variant was not asked, so nothing is assumed there. The plans and their hashes do not change.
UPDATE experiments SET on_no_trade = CASE WHEN mode = 'limited_live' THEN 'exclude' ELSE 'assume_zero' END
WHERE on_no_trade = 'zero';
ALTER TABLE unmatched ADD COLUMN opportunity_at TIMESTAMP;
CREATE TABLE arm_progress (
    experiment_id VARCHAR NOT NULL, control_until TIMESTAMP, variant_until TIMESTAMP
);

COMMENT ON COLUMN reports.decision IS 'What the strategy did with the opportunity: traded, or passed (then without metrics).';
COMMENT ON COLUMN early_reports.decision IS 'What the strategy did with the opportunity: traded, or passed (then without metrics).';
COMMENT ON COLUMN experiments.on_no_trade IS 'What is in force for an opportunity on which the variant did not trade: exclude, zero (a report that says passed counts as zero edge) or assume_zero (so does a missing replay, once the variant''s reports have moved past its block). A plan with zero from before reports could say passed is read as assume_zero, in limited live as exclude.';
COMMENT ON COLUMN unmatched.opportunity_at IS 'Time of the opportunity (UTC): when the control reported it; null where that is unknown.';
COMMENT ON TABLE arm_progress IS 'How far each arm of an experiment has come: a block is closed when both have moved past it.';
COMMENT ON COLUMN arm_progress.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN arm_progress.control_until IS 'Time of the newest opportunity that the control has reported (UTC).';
COMMENT ON COLUMN arm_progress.variant_until IS 'Time of the newest opportunity that the variant has reported (UTC): of a replay the time of the live report that it replays.';
