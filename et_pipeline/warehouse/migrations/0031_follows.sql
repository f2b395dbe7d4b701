-- After a promotion, the replaced strategy is replayed and compared with the one that trades now: is the promise kept?
ALTER TABLE experiments ADD COLUMN follows VARCHAR;

CREATE TABLE promises (
    experiment_id VARCHAR NOT NULL, follows VARCHAR NOT NULL, metric VARCHAR NOT NULL, state VARCHAR NOT NULL,
    promised_as_of TIMESTAMP, promised_comparison VARCHAR, promised_uplift DOUBLE, promised_lower DOUBLE,
    promised_upper DOUBLE, observed_as_of TIMESTAMP, observed_comparison VARCHAR, observed_uplift DOUBLE,
    observed_lower DOUBLE, observed_upper DOUBLE, sentence VARCHAR NOT NULL
);

COMMENT ON COLUMN experiments.follows IS 'The experiment whose promised uplift this one watches after the promotion; null for one that watches no other.';
COMMENT ON TABLE promises IS 'One row an experiment that follows another one: whether the uplift that was promised before the promotion is kept after it. Positive is good for the promoted strategy.';
COMMENT ON COLUMN promises.experiment_id IS 'The experiment that watches (experiments.experiment_id).';
COMMENT ON COLUMN promises.follows IS 'The experiment whose verdict promised something.';
COMMENT ON COLUMN promises.metric IS 'The primary metric of both.';
COMMENT ON COLUMN promises.state IS 'kept: above zero, and not below what was promised; not_kept: all of the observed interval lies below the promised one; not_yet: neither is shown; nothing_promised: the followed experiment does not call its variant better.';
COMMENT ON COLUMN promises.promised_as_of IS 'The moment of the verdict that promised (UTC).';
COMMENT ON COLUMN promises.promised_comparison IS 'Which comparison the promise is of: like_for_like where enough of the control was replayed, else uplift.';
COMMENT ON COLUMN promises.promised_uplift IS 'Mean uplift at that verdict, in the metric''s unit.';
COMMENT ON COLUMN promises.promised_lower IS 'Lower end of its interval.';
COMMENT ON COLUMN promises.promised_upper IS 'Upper end of its interval.';
COMMENT ON COLUMN promises.observed_as_of IS 'End of the newest closed block after the promotion (UTC).';
COMMENT ON COLUMN promises.observed_comparison IS 'Which comparison was observed, as promised_comparison.';
COMMENT ON COLUMN promises.observed_uplift IS 'Mean of the promoted strategy less the one that it replaced, in the metric''s unit.';
COMMENT ON COLUMN promises.observed_lower IS 'Lower end of its interval.';
COMMENT ON COLUMN promises.observed_upper IS 'Upper end of its interval.';
COMMENT ON COLUMN promises.sentence IS 'The same in plain words.';
