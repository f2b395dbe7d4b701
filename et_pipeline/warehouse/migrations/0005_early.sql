-- Reports whose time is ahead of the clock wait, and are stored when their time has come.
CREATE TABLE early_reports AS SELECT * EXCLUDE (batch) FROM reports WHERE false;
CREATE TABLE early_batches (
    batch BIGINT NOT NULL
);
ALTER TABLE snapshots ADD COLUMN waiting BIGINT DEFAULT 0;

-- Before this migration such lines went to quarantine for ever, so their files are read once more.
UPDATE snapshots
SET mtime_ns = -1, content_hash = ''
WHERE snapshot_id IN (SELECT snapshot_id FROM quarantine WHERE reason = 'in_the_future');

COMMENT ON TABLE snapshots IS 'One row a snapshot file of reports, as the bus or the backtester exported it. lines = reports + duplicates + skipped + quarantined + waiting.';
COMMENT ON COLUMN snapshots.waiting IS 'Lines that wait in early_reports, because their time lies ahead of the clock; once due they count as reports, duplicates or quarantined.';
COMMENT ON COLUMN snapshots.duplicates IS 'Lines that repeat a known report id with the same content: counted, dropped. In a reading after which the file was read again also its skipped and refused lines: they count where they were read last.';
COMMENT ON TABLE early_reports IS 'Sound reports whose emitted_at lies further ahead of the clock than ET_MAX_CLOCK_SKEW allows: the first tick after their time has come takes them in.';
COMMENT ON TABLE early_batches IS 'Technical: the ingest transactions that took in reports which had waited.';
COMMENT ON COLUMN early_batches.batch IS 'Number of the ingest transaction (reports.batch).';
COMMENT ON COLUMN early_reports.report_id IS 'Unique id, given by the emitter.';
COMMENT ON COLUMN early_reports.schema_version IS 'Version of the report schema, 1.x.';
COMMENT ON COLUMN early_reports.bot_id IS 'The emitter, for example gov.backtester.';
COMMENT ON COLUMN early_reports.strategy_id IS 'The strategy it speaks of.';
COMMENT ON COLUMN early_reports.config_version IS 'The emitter''s configuration.';
COMMENT ON COLUMN early_reports.mode IS 'live or replay; replay-tagged reports come from the backtester.';
COMMENT ON COLUMN early_reports.correlation_id IS 'The opportunity; a replayed report carries the live one''s.';
COMMENT ON COLUMN early_reports.market_id IS 'The market.';
COMMENT ON COLUMN early_reports.outcome_id IS 'The outcome within the market.';
COMMENT ON COLUMN early_reports.side IS 'BUY or SELL.';
COMMENT ON COLUMN early_reports.emitted_at IS 'When it was emitted (UTC).';
COMMENT ON COLUMN early_reports.edge_bps IS 'Net realised edge (bps); null where the report has none.';
COMMENT ON COLUMN early_reports.slippage_bps IS 'Slippage against the arrival mid (bps); null where the report has none.';
COMMENT ON COLUMN early_reports.fill_ratio IS 'Share of the asked size that was filled (0 to 1); null where the report has none.';
COMMENT ON COLUMN early_reports.latency_ms IS 'Decision to fill (ms); null where the report has none.';
COMMENT ON COLUMN early_reports.toxicity_bps IS 'Mark drift after the fill (bps); null where the report has none.';
COMMENT ON COLUMN early_reports.filled_size IS 'Size filled (contracts); null where the report has none.';
COMMENT ON COLUMN early_reports.asked_size IS 'Size asked for (contracts); null where the report has none.';
COMMENT ON COLUMN early_reports.extra IS 'Unknown fields of a newer minor schema version, as JSON; null where there are none.';
COMMENT ON COLUMN early_reports.report_key IS '64-bit hash of report_id.';
COMMENT ON COLUMN early_reports.opportunity_key IS '64-bit hash of (correlation_id, market_id, outcome_id, side): a short key of the opportunity.';
COMMENT ON COLUMN early_reports.content_hash IS '64-bit hash of the content, by which duplicates are told from conflicts.';
COMMENT ON COLUMN early_reports.snapshot_id IS 'The snapshot it stands in (snapshots.snapshot_id).';
COMMENT ON COLUMN early_reports.line IS 'Line (or row) in its snapshot, from 1.';
