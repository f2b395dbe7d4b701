-- All experiments counted together, and the variants of each family. The next tick fills both tables.
CREATE TABLE portfolio (
    experiment_id VARCHAR NOT NULL, family VARCHAR, verdict VARCHAR, as_of TIMESTAMP, e_value DOUBLE NOT NULL, rank BIGINT,
    threshold DOUBLE, stands BOOLEAN, counted BIGINT, sample BOOLEAN NOT NULL, delta DOUBLE NOT NULL,
    window_us BIGINT NOT NULL, sentence VARCHAR
);
CREATE TABLE families (
    family VARCHAR NOT NULL, experiment_id VARCHAR NOT NULL, verdict VARCHAR, as_of TIMESTAMP, metric VARCHAR,
    n_pairs BIGINT, mean_uplift DOUBLE, se DOUBLE, ci_lower DOUBLE, ci_upper DOUBLE, shrunk_uplift DOUBLE,
    e_value DOUBLE NOT NULL, rank BIGINT, threshold DOUBLE, stands BOOLEAN, counted BIGINT NOT NULL, delta DOUBLE NOT NULL
);
COMMENT ON TABLE portfolio IS 'One row an experiment: whether its discovery stands when all experiments of the trailing window are counted (e-BH). It blocks nothing.';
COMMENT ON COLUMN portfolio.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN portfolio.family IS 'Variants that share one control and one question, as the plan names them; null where it names none.';
COMMENT ON COLUMN portfolio.verdict IS 'The verdict (verdicts.verdict); null while it goes on.';
COMMENT ON COLUMN portfolio.as_of IS 'The moment of the e-value (UTC): the verdict''s, or the end of the newest closed block while it goes on; null before the first.';
COMMENT ON COLUMN portfolio.e_value IS 'Evidence that the variant is better in the primary metric: the e-value there where the estimate is positive, 0 elsewhere.';
COMMENT ON COLUMN portfolio.rank IS 'Place of the e-value among those called better, 1 for the largest; null for others.';
COMMENT ON COLUMN portfolio.threshold IS 'The e-value that the discovery needs to stand, the others being as they are; null where it was not called better.';
COMMENT ON COLUMN portfolio.stands IS 'Whether the discovery stands when all are counted; false where it was not called better, null where it is not counted.';
COMMENT ON COLUMN portfolio.counted IS 'How many experiments are counted, this one among them: those with a closed block whose planned window reaches into the trailing one; null where this one is not counted.';
COMMENT ON COLUMN portfolio.sample IS 'Whether the plan says that its reports are generated; those experiments are counted apart.';
COMMENT ON COLUMN portfolio.delta IS 'The deployment''s choice: the largest expected share of false ones among the discoveries that stand (ET_PORTFOLIO_DELTA).';
COMMENT ON COLUMN portfolio.window_us IS 'The deployment''s choice: length of the trailing window in microseconds (ET_PORTFOLIO_WINDOW); it ends with the newest closed block of any experiment.';
COMMENT ON COLUMN portfolio.sentence IS 'The same about a discovery in plain words; null for others.';
COMMENT ON TABLE families IS 'One row a variant of a family: the variants of one control side by side, judged together by e-BH within the family.';
COMMENT ON COLUMN families.family IS 'The family, as the plans name it.';
COMMENT ON COLUMN families.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN families.verdict IS 'The verdict (verdicts.verdict); null while it goes on.';
COMMENT ON COLUMN families.as_of IS 'The moment of the figures (UTC): the verdict''s, or the end of the newest closed block while it goes on; null before the first.';
COMMENT ON COLUMN families.metric IS 'The primary metric, the same in the whole family.';
COMMENT ON COLUMN families.n_pairs IS 'Pairs behind the figures.';
COMMENT ON COLUMN families.mean_uplift IS 'Mean uplift, in the metric''s unit. Of the best of several it is too large on average.';
COMMENT ON COLUMN families.se IS 'Standard error of the mean, in the metric''s unit.';
COMMENT ON COLUMN families.ci_lower IS 'Lower end of the interval, in the metric''s unit.';
COMMENT ON COLUMN families.ci_upper IS 'Upper end of the interval, in the metric''s unit.';
COMMENT ON COLUMN families.shrunk_uplift IS 'What to expect of the uplift (positive-part James–Stein over the family, towards 0), in the metric''s unit; the mean itself below three variants.';
COMMENT ON COLUMN families.e_value IS 'Evidence that the variant is better in the primary metric, as in portfolio.e_value.';
COMMENT ON COLUMN families.rank IS 'Place of the e-value among those of the family that were called better; null for others.';
COMMENT ON COLUMN families.threshold IS 'The e-value that the discovery needs to stand within the family; null where it was not called better.';
COMMENT ON COLUMN families.stands IS 'Whether the discovery stands when the whole family is counted.';
COMMENT ON COLUMN families.counted IS 'How many variants of the family are counted: those with a closed block.';
COMMENT ON COLUMN families.delta IS 'The deployment''s choice: the largest expected share of false ones among the discoveries that stand (ET_PORTFOLIO_DELTA).';
