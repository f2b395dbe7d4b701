-- Is the replay true? What a plan requires of it is fixed at registration; older plans require nothing.
ALTER TABLE experiments ADD COLUMN replay_required BOOLEAN DEFAULT false;
ALTER TABLE experiments ADD COLUMN replay_margin DOUBLE;
UPDATE experiments AS e SET replay_margin = m.equivalence_margin
FROM experiment_metrics AS m
WHERE m.experiment_id = e.experiment_id AND m.role = 'primary';

CREATE TABLE replay_fidelity (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, comparison VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL,
    n_pairs BIGINT NOT NULL, coverage DOUBLE NOT NULL, mean_uplift DOUBLE, se DOUBLE, ci_lower DOUBLE, ci_upper DOUBLE,
    margin DOUBLE, state VARCHAR NOT NULL
);

COMMENT ON COLUMN experiments.replay_required IS 'Whether a replay that is unknown or unfaithful keeps variant_better away: the plan, or the deployment as it was when the plan was registered, says so.';
COMMENT ON COLUMN experiments.replay_margin IS 'How large a gap between the replayed and the live control may be, in the unit of the primary metric; null where the plan names none.';
COMMENT ON TABLE replay_fidelity IS 'Shadow only: what the backtester makes of the control''s own trades, at the newest closed block; its path is in replay_path.';
COMMENT ON COLUMN replay_fidelity.experiment_id IS 'The experiment (experiments.experiment_id).';
COMMENT ON COLUMN replay_fidelity.metric IS 'Name of the metric in the metric catalogue, for example edge_bps.';
COMMENT ON COLUMN replay_fidelity.comparison IS 'replay_gap: the replayed control against the live one; like_for_like: the variant''s replay against the replayed control.';
COMMENT ON COLUMN replay_fidelity.as_of IS 'End of the newest closed block that has pairs (UTC).';
COMMENT ON COLUMN replay_fidelity.n_pairs IS 'Pairs with a replay of the control that have a value.';
COMMENT ON COLUMN replay_fidelity.coverage IS 'Share of the metric''s pairs of which the control was replayed too.';
COMMENT ON COLUMN replay_fidelity.mean_uplift IS 'Mean difference, in the metric''s unit; positive is good for the side that is named first.';
COMMENT ON COLUMN replay_fidelity.se IS 'Its standard error.';
COMMENT ON COLUMN replay_fidelity.ci_lower IS 'Lower end of its interval.';
COMMENT ON COLUMN replay_fidelity.ci_upper IS 'Upper end of its interval.';
COMMENT ON COLUMN replay_fidelity.margin IS 'How large a gap may be: the plan''s for the primary, the non-inferiority margin of a guardrail; null where there is none.';
COMMENT ON COLUMN replay_fidelity.state IS 'faithful: the gap lies within the margin; unfaithful: it lies outside; not_yet: neither is shown; unknown: the control was replayed for fewer than half of the pairs.';
