-- Times are UTC. There are no primary keys, so that loads are fast; the program ensures unique rows, and checks test them.

-- ingest ---------------------------------------------------------------------------------------------------
CREATE TABLE snapshots (
    path VARCHAR NOT NULL, size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, content_hash VARCHAR NOT NULL,
    ingested_at TIMESTAMP NOT NULL, lines BIGINT NOT NULL, reports BIGINT NOT NULL, duplicates BIGINT NOT NULL,
    skipped BIGINT NOT NULL, quarantined BIGINT NOT NULL,
    snapshot_id INTEGER NOT NULL, revision INTEGER NOT NULL, changed BOOLEAN NOT NULL, batch BIGINT NOT NULL
);
CREATE TABLE skipped (
    snapshot_id INTEGER NOT NULL, kind VARCHAR NOT NULL, lines BIGINT NOT NULL
);
CREATE TABLE reports (
    report_id VARCHAR NOT NULL, schema_version VARCHAR NOT NULL, bot_id VARCHAR NOT NULL,
    strategy_id VARCHAR NOT NULL, config_version VARCHAR NOT NULL, mode VARCHAR NOT NULL,
    correlation_id VARCHAR NOT NULL, market_id VARCHAR NOT NULL, outcome_id VARCHAR NOT NULL,
    side VARCHAR NOT NULL, emitted_at TIMESTAMP NOT NULL,
    edge_bps DOUBLE, slippage_bps DOUBLE, fill_ratio DOUBLE, latency_ms DOUBLE, toxicity_bps DOUBLE,
    filled_size DOUBLE, asked_size DOUBLE,
    extra VARCHAR,
    report_key UBIGINT NOT NULL, opportunity_key UBIGINT NOT NULL, content_hash UBIGINT NOT NULL,
    snapshot_id INTEGER NOT NULL, line BIGINT NOT NULL, batch BIGINT NOT NULL
);
CREATE TABLE displaced (
    report_id VARCHAR NOT NULL, strategy_id VARCHAR NOT NULL, config_version VARCHAR NOT NULL, mode VARCHAR NOT NULL,
    correlation_id VARCHAR NOT NULL, market_id VARCHAR NOT NULL, outcome_id VARCHAR NOT NULL, side VARCHAR NOT NULL,
    emitted_at TIMESTAMP NOT NULL, opportunity_key UBIGINT NOT NULL, batch BIGINT NOT NULL
);
CREATE TABLE quarantine (
    path VARCHAR NOT NULL, line BIGINT NOT NULL, reason VARCHAR NOT NULL, sentence VARCHAR NOT NULL, raw VARCHAR,
    snapshot_id INTEGER NOT NULL,
    report_id VARCHAR, content_hash UBIGINT -- of conflicts only
);
CREATE TABLE unreadable (
    path VARCHAR NOT NULL, reason VARCHAR NOT NULL, sentence VARCHAR NOT NULL, seen_at TIMESTAMP NOT NULL,
    size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL
);

-- experiments ----------------------------------------------------------------------------------------------
CREATE TABLE experiments (
    experiment_id VARCHAR NOT NULL, plan_hash VARCHAR NOT NULL, title VARCHAR NOT NULL, hypothesis VARCHAR NOT NULL,
    owner VARCHAR NOT NULL, mode VARCHAR NOT NULL,
    control_strategy_id VARCHAR NOT NULL, control_config_version VARCHAR,
    variant_strategy_id VARCHAR NOT NULL, variant_config_version VARCHAR,
    traffic_split_pct DOUBLE NOT NULL, min_samples_for_decision BIGINT NOT NULL, planned_pairs BIGINT NOT NULL,
    expected_clusters DOUBLE NOT NULL, starts_at TIMESTAMP NOT NULL, ends_at TIMESTAMP NOT NULL,
    alpha DOUBLE NOT NULL, alarm_alpha DOUBLE NOT NULL, planned_blocks BIGINT NOT NULL,
    time_block_us BIGINT NOT NULL,
    matching VARCHAR NOT NULL, tolerance_us BIGINT, on_no_trade VARCHAR NOT NULL,
    request_review BOOLEAN NOT NULL, approvers INTEGER NOT NULL, allow_self_approval BOOLEAN NOT NULL,
    g DOUBLE NOT NULL, plan VARCHAR NOT NULL, path VARCHAR NOT NULL, registered_at TIMESTAMP NOT NULL
);
CREATE TABLE experiment_metrics (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, role VARCHAR NOT NULL, estimator VARCHAR NOT NULL,
    non_inferiority_margin DOUBLE, equivalence_margin DOUBLE, winsor_lower DOUBLE, winsor_upper DOUBLE
);
CREATE TABLE plan_refusals (
    path VARCHAR NOT NULL, experiment_id VARCHAR, key VARCHAR NOT NULL, value VARCHAR NOT NULL,
    sentence VARCHAR NOT NULL, refused_at TIMESTAMP NOT NULL
);

-- pairing --------------------------------------------------------------------------------------------------
CREATE TABLE pairing_progress (
    experiment_id VARCHAR NOT NULL, rule_hash VARCHAR NOT NULL, batch BIGINT NOT NULL
);
CREATE TABLE pairing_segments (
    experiment_id VARCHAR NOT NULL, market_id VARCHAR NOT NULL, outcome_id VARCHAR NOT NULL, side VARCHAR NOT NULL,
    starts_at TIMESTAMP NOT NULL, ends_at TIMESTAMP NOT NULL
);
CREATE TABLE pairs (
    experiment_id VARCHAR NOT NULL, pair_time TIMESTAMP NOT NULL, block TIMESTAMP NOT NULL,
    market_id VARCHAR NOT NULL, outcome_id VARCHAR NOT NULL, side VARCHAR NOT NULL, correlation_id VARCHAR NOT NULL,
    control_report_id VARCHAR NOT NULL, variant_report_id VARCHAR,
    edge_bps_control DOUBLE, edge_bps_variant DOUBLE, edge_bps_uplift DOUBLE,
    slippage_bps_control DOUBLE, slippage_bps_variant DOUBLE, slippage_bps_uplift DOUBLE,
    fill_ratio_control DOUBLE, fill_ratio_variant DOUBLE, fill_ratio_uplift DOUBLE,
    latency_ms_control DOUBLE, latency_ms_variant DOUBLE, latency_ms_uplift DOUBLE,
    toxicity_bps_control DOUBLE, toxicity_bps_variant DOUBLE, toxicity_bps_uplift DOUBLE,
    filled_size_control DOUBLE, filled_size_variant DOUBLE, filled_size_uplift DOUBLE,
    asked_size_control DOUBLE, asked_size_variant DOUBLE, asked_size_uplift DOUBLE,
    opportunity_key UBIGINT NOT NULL, candidates INTEGER NOT NULL
);
CREATE TABLE unmatched (
    experiment_id VARCHAR NOT NULL, arm VARCHAR NOT NULL, reason VARCHAR NOT NULL, report_id VARCHAR NOT NULL,
    emitted_at TIMESTAMP NOT NULL, block TIMESTAMP NOT NULL, market_id VARCHAR NOT NULL, outcome_id VARCHAR NOT NULL,
    side VARCHAR NOT NULL, correlation_id VARCHAR NOT NULL, opportunity_key UBIGINT NOT NULL
);
CREATE TABLE stale_cells (
    experiment_id VARCHAR NOT NULL, block TIMESTAMP NOT NULL, market_id VARCHAR NOT NULL
);
CREATE TABLE cells (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, block TIMESTAMP NOT NULL, market_id VARCHAR NOT NULL,
    n BIGINT NOT NULL, sum DOUBLE NOT NULL, sum_squares DOUBLE NOT NULL, m2 DOUBLE NOT NULL,
    wins BIGINT NOT NULL, winsorised BIGINT NOT NULL,
    numerator_control DOUBLE, denominator_control DOUBLE, numerator_variant DOUBLE, denominator_variant DOUBLE
);
CREATE TABLE stale_paths (
    experiment_id VARCHAR NOT NULL, block TIMESTAMP NOT NULL
);

-- inference ------------------------------------------------------------------------------------------------
CREATE TABLE interval_path (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, role VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL,
    n_pairs BIGINT NOT NULL, effective_clusters DOUBLE NOT NULL, n_markets BIGINT NOT NULL, n_blocks BIGINT NOT NULL,
    mean_uplift DOUBLE, se DOUBLE, ci_lower DOUBLE, ci_upper DOUBLE, e_value DOUBLE, p_value DOUBLE,
    fixed_ci_lower DOUBLE, fixed_ci_upper DOUBLE, method VARCHAR NOT NULL, plan_hash VARCHAR NOT NULL,
    alarm_ci_lower DOUBLE, alarm_ci_upper DOUBLE, autocorrelation DOUBLE, ready BOOLEAN NOT NULL,
    closed BOOLEAN NOT NULL
);
CREATE TABLE intervals AS SELECT * FROM interval_path;
CREATE TABLE diagnostics (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL,
    median_uplift DOUBLE, sd_uplift DOUBLE, share_won DOUBLE, winsorised BIGINT NOT NULL,
    market_correlation DOUBLE, block_correlation DOUBLE, autocorrelation DOUBLE, longer_block_needed BOOLEAN NOT NULL,
    largest_market VARCHAR, largest_market_share DOUBLE, mean_without_largest_market DOUBLE,
    unmatched_control_share DOUBLE, unmatched_variant_share DOUBLE, candidates_per_variant DOUBLE,
    pairs_needed DOUBLE
);
CREATE TABLE sample_ratio (
    experiment_id VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL, n_control BIGINT NOT NULL, n_variant BIGINT NOT NULL,
    planned_share DOUBLE NOT NULL, observed_share DOUBLE, e_value DOUBLE NOT NULL, p_value DOUBLE NOT NULL,
    alarm BOOLEAN NOT NULL
);
CREATE TABLE drift (
    experiment_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, as_of TIMESTAMP NOT NULL, margin DOUBLE NOT NULL,
    log_evidence DOUBLE NOT NULL, threshold DOUBLE NOT NULL, alarm BOOLEAN NOT NULL, since TIMESTAMP
);

-- governance -----------------------------------------------------------------------------------------------
CREATE TABLE verdicts (
    experiment_id VARCHAR NOT NULL, state VARCHAR NOT NULL, verdict VARCHAR, reason VARCHAR NOT NULL,
    decided_as_of TIMESTAMP, n_pairs BIGINT NOT NULL, effective_clusters DOUBLE NOT NULL,
    evidence_hash VARCHAR, plan_hash VARCHAR NOT NULL,
    sentence VARCHAR NOT NULL, missing VARCHAR NOT NULL, evidence VARCHAR, announced_verdict VARCHAR,
    announced_as_of TIMESTAMP, contradicted BOOLEAN NOT NULL, announced_evidence_hash VARCHAR
);
CREATE TABLE sign_offs (
    path VARCHAR NOT NULL, experiment_id VARCHAR, purpose VARCHAR, plan_hash VARCHAR, evidence_hash VARCHAR,
    decision VARCHAR, reason VARCHAR, signer VARCHAR, signed_at TIMESTAMP, content_hash VARCHAR NOT NULL,
    valid BOOLEAN NOT NULL, refusal VARCHAR, sentence VARCHAR NOT NULL, checked_at TIMESTAMP NOT NULL,
    key_fingerprint VARCHAR
);
CREATE TABLE audit_log (
    seq BIGINT NOT NULL, recorded_at TIMESTAMP NOT NULL, experiment_id VARCHAR, action VARCHAR NOT NULL,
    from_state VARCHAR, to_state VARCHAR, detail VARCHAR NOT NULL, previous_hash VARCHAR NOT NULL, hash VARCHAR NOT NULL
);
CREATE TABLE outages (
    source VARCHAR NOT NULL, since TIMESTAMP NOT NULL, until TIMESTAMP, reason VARCHAR NOT NULL
);
CREATE TABLE events (
    event_id VARCHAR NOT NULL, kind VARCHAR NOT NULL, experiment_id VARCHAR NOT NULL, reason_code VARCHAR,
    severity VARCHAR, message VARCHAR NOT NULL, emitted_at TIMESTAMP NOT NULL, payload VARCHAR NOT NULL,
    seq BIGINT NOT NULL
);
CREATE TABLE drift_signals (
    signal_id VARCHAR NOT NULL, experiment_id VARCHAR NOT NULL, control_strategy_id VARCHAR NOT NULL,
    variant_strategy_id VARCHAR NOT NULL, metric VARCHAR NOT NULL, trigger VARCHAR NOT NULL, uplift DOUBLE,
    ci_lower DOUBLE, ci_upper DOUBLE, n_pairs BIGINT NOT NULL, effective_clusters DOUBLE NOT NULL, e_value DOUBLE,
    since TIMESTAMP, plan_hash VARCHAR NOT NULL, evidence_hash VARCHAR NOT NULL, emitted_at TIMESTAMP NOT NULL
);
CREATE TABLE reason_codes (
    code VARCHAR NOT NULL, severity VARCHAR NOT NULL, meaning VARCHAR NOT NULL, action VARCHAR NOT NULL
);
CREATE TABLE strategy_usage (
    strategy_id VARCHAR NOT NULL, state VARCHAR NOT NULL, last_triggered TIMESTAMP,
    contract_fingerprint VARCHAR, must_repass_shadow BOOLEAN NOT NULL
);

-- publishing -----------------------------------------------------------------------------------------------
CREATE TABLE deliveries (
    event_id VARCHAR NOT NULL, destination VARCHAR NOT NULL, attempt INTEGER NOT NULL, status VARCHAR NOT NULL,
    detail VARCHAR NOT NULL, attempted_at TIMESTAMP NOT NULL, due_at TIMESTAMP
);
