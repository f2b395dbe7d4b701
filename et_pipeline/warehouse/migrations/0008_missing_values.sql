-- Numbers of pairs without a value of a metric. Every cell is computed again, so that stored pairs are counted too.
CREATE TABLE missing_values (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, block TIMESTAMP NOT NULL, market_id VARCHAR NOT NULL,
    pairs BIGINT NOT NULL, control BIGINT NOT NULL, variant BIGINT NOT NULL
);
ALTER TABLE pairs ADD COLUMN passed VARCHAR;
ALTER TABLE experiments ADD COLUMN max_missing DOUBLE DEFAULT 0.05;
ALTER TABLE diagnostics ADD COLUMN missing_share DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_control_share DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_variant_share DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_blocks BIGINT;
ALTER TABLE diagnostics ADD COLUMN missing_worst_share DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_worst_block TIMESTAMP;
ALTER TABLE diagnostics ADD COLUMN missing_arm VARCHAR;
ALTER TABLE diagnostics ADD COLUMN missing_difference DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_difference_lower DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_difference_upper DOUBLE;
ALTER TABLE diagnostics ADD COLUMN missing_sentence VARCHAR;
INSERT INTO stale_cells
SELECT experiment_id, block, market_id FROM pairs UNION SELECT experiment_id, block, market_id FROM cells;

COMMENT ON TABLE missing_values IS 'Pairs without a value of a metric, per block and market; a row only where there is such a pair.';
COMMENT ON COLUMN missing_values.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN missing_values.metric IS 'Name of the metric in the metric catalogue, for example edge_bps.';
COMMENT ON COLUMN missing_values.block IS 'Start of the block (UTC).';
COMMENT ON COLUMN missing_values.market_id IS 'The market.';
COMMENT ON COLUMN missing_values.pairs IS 'Pairs in which at least one arm''s report has no value of the metric.';
COMMENT ON COLUMN missing_values.control IS 'Pairs in which the control''s report has none.';
COMMENT ON COLUMN missing_values.variant IS 'Pairs in which the variant''s report has none.';
COMMENT ON COLUMN pairs.passed IS 'The arm whose report says that it passed on the opportunity: control or variant; null where both traded, or where no report says so.';
COMMENT ON COLUMN experiments.max_missing IS 'Share of pairs without a value of a metric above which nothing is concluded about that metric.';
COMMENT ON COLUMN diagnostics.missing_share IS 'Share of pairs in which at least one arm''s report has no value of the metric.';
COMMENT ON COLUMN diagnostics.missing_control_share IS 'Share of pairs in which the control''s report has no value of the metric.';
COMMENT ON COLUMN diagnostics.missing_variant_share IS 'Share of pairs in which the variant''s report has no value of the metric.';
COMMENT ON COLUMN diagnostics.missing_blocks IS 'Blocks with at least one pair that has no value of the metric.';
COMMENT ON COLUMN diagnostics.missing_worst_share IS 'Highest share of such pairs in a single block; null where no value is missing.';
COMMENT ON COLUMN diagnostics.missing_worst_block IS 'Start of that block (UTC), the first one where several are alike.';
COMMENT ON COLUMN diagnostics.missing_arm IS 'The arm that lacks more values, whose gaps the next columns compare: control or variant; null where no value is missing.';
COMMENT ON COLUMN diagnostics.missing_difference IS 'Mean of the other arm''s value where this arm has none, less its mean where it has one, in the metric''s unit.';
COMMENT ON COLUMN diagnostics.missing_difference_lower IS 'Lower end of the anytime-valid interval of that difference; an interval without zero says that the gaps are no accident.';
COMMENT ON COLUMN diagnostics.missing_difference_upper IS 'Upper end of it.';
COMMENT ON COLUMN diagnostics.missing_sentence IS 'Whether the gaps go with what the other arm found, in words; null where no value is missing.';
