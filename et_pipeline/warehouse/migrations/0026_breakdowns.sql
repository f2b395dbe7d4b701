-- Breakdowns: the uplift within each value of a dimension that the plan names.
CREATE TABLE segment_cells (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, dimension VARCHAR NOT NULL, value VARCHAR NOT NULL,
    block TIMESTAMP NOT NULL, market_id VARCHAR NOT NULL, n BIGINT NOT NULL, sum DOUBLE, m2 DOUBLE,
    numerator_control DOUBLE, denominator_control DOUBLE, numerator_variant DOUBLE, denominator_variant DOUBLE,
    n_control BIGINT, n_variant BIGINT
);
CREATE TABLE breakdowns (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, dimension VARCHAR NOT NULL, value VARCHAR NOT NULL,
    n_values BIGINT NOT NULL, as_of TIMESTAMP NOT NULL, n_pairs BIGINT NOT NULL, share DOUBLE NOT NULL,
    effective_clusters DOUBLE, mean_uplift DOUBLE, se DOUBLE, ci_lower DOUBLE, ci_upper DOUBLE, e_value DOUBLE,
    threshold DOUBLE, stands BOOLEAN NOT NULL, heterogeneity_e_value DOUBLE, heterogeneity_p_value DOUBLE
);
COMMENT ON TABLE segment_cells IS 'Technical: the cells of breakdowns, as cells has those of the whole experiment; of the primary metric.';
COMMENT ON COLUMN segment_cells.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN segment_cells.metric IS 'The primary metric.';
COMMENT ON COLUMN segment_cells.dimension IS 'What the pairs are told apart by: side, outcome_id, hour, market or label.NAME.';
COMMENT ON COLUMN segment_cells.value IS 'The value of the dimension.';
COMMENT ON COLUMN segment_cells.block IS 'Start of the time block (UTC).';
COMMENT ON COLUMN segment_cells.market_id IS 'The market.';
COMMENT ON COLUMN segment_cells.n IS 'Pairs with a value of the metric; where all trades are compared, trades of both arms.';
COMMENT ON COLUMN segment_cells.sum IS 'Sum of the uplifts, in the metric''s unit; null where all trades are compared.';
COMMENT ON COLUMN segment_cells.m2 IS 'Sum of squared deviations from the cell''s own mean; null where all trades are compared.';
COMMENT ON COLUMN segment_cells.numerator_control IS 'The control''s Σ numerator of a ratio, or Σ value of its trades; null elsewhere.';
COMMENT ON COLUMN segment_cells.denominator_control IS 'The control''s Σ denominator of a ratio, or number of its trades; null elsewhere.';
COMMENT ON COLUMN segment_cells.numerator_variant IS 'The variant''s Σ numerator of a ratio, or Σ value of its trades; null elsewhere.';
COMMENT ON COLUMN segment_cells.denominator_variant IS 'The variant''s Σ denominator of a ratio, or number of its trades; null elsewhere.';
COMMENT ON COLUMN segment_cells.n_control IS 'The control''s trades; null where pairs are compared.';
COMMENT ON COLUMN segment_cells.n_variant IS 'The variant''s trades; null where pairs are compared.';
COMMENT ON TABLE breakdowns IS 'Exploratory: the uplift of the primary metric within each value of a dimension that the plan asks for, at the newest closed block. No verdict uses it.';
COMMENT ON COLUMN breakdowns.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN breakdowns.metric IS 'The primary metric.';
COMMENT ON COLUMN breakdowns.dimension IS 'What the pairs are told apart by: side, outcome_id, hour (of the day, UTC), market (groups of the plan) or label.NAME (a label of the report).';
COMMENT ON COLUMN breakdowns.value IS 'The value, as the control''s report has it; (none) without one; (other) for all values beyond the 50 with the most pairs.';
COMMENT ON COLUMN breakdowns.n_values IS 'How many values the row stands for: 1, or for (other) those that it holds.';
COMMENT ON COLUMN breakdowns.as_of IS 'End of the newest closed block that has pairs (UTC).';
COMMENT ON COLUMN breakdowns.n_pairs IS 'Pairs with the value; where all trades are compared, trades of the arm that has fewer.';
COMMENT ON COLUMN breakdowns.share IS 'Share of the experiment''s pairs, or trades of both arms, that have the value (0 to 1).';
COMMENT ON COLUMN breakdowns.effective_clusters IS 'Effective number of independent groups behind it.';
COMMENT ON COLUMN breakdowns.mean_uplift IS 'Mean uplift within the value, in the metric''s unit; positive is good for the variant.';
COMMENT ON COLUMN breakdowns.se IS 'Its standard error.';
COMMENT ON COLUMN breakdowns.ci_lower IS 'Lower end of its interval, which is valid at every block end (the mixture boundary); null where there is none yet.';
COMMENT ON COLUMN breakdowns.ci_upper IS 'Upper end of its interval.';
COMMENT ON COLUMN breakdowns.e_value IS 'Evidence that the uplift within the value is not 0.';
COMMENT ON COLUMN breakdowns.threshold IS 'The e-value that it needs to stand, all values of the dimension counted.';
COMMENT ON COLUMN breakdowns.stands IS 'Whether it stands when all values of the dimension are counted (e-BH at 10 %).';
COMMENT ON COLUMN breakdowns.heterogeneity_e_value IS 'Evidence that the uplift differs between the values of the dimension; null with a single value.';
COMMENT ON COLUMN breakdowns.heterogeneity_p_value IS 'The p-value that follows from it: 1 over the e-value, at most 1.';
