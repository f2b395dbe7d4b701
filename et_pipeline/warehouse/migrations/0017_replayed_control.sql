-- The backtester may replay the control too. Pairs get the replayed control's values, and blocks are closed only when
-- these replays have come far enough too.
ALTER TABLE pairs ADD COLUMN replay_report_id VARCHAR;
ALTER TABLE pairs ADD COLUMN edge_bps_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN slippage_bps_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN fill_ratio_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN latency_ms_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN toxicity_bps_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN filled_size_replay DOUBLE;
ALTER TABLE pairs ADD COLUMN asked_size_replay DOUBLE;
ALTER TABLE arm_progress ADD COLUMN replay_until TIMESTAMP;

COMMENT ON COLUMN pairs.replay_report_id IS 'Shadow only: the replayed control''s report of the same opportunity, what the backtester made of the control''s own trade; null where there is none.';
COMMENT ON COLUMN pairs.edge_bps_replay IS 'The replayed control''s edge in basis points, before winsorising.';
COMMENT ON COLUMN pairs.slippage_bps_replay IS 'The replayed control''s slippage in basis points, before winsorising.';
COMMENT ON COLUMN pairs.fill_ratio_replay IS 'The replayed control''s fill ratio, before winsorising.';
COMMENT ON COLUMN pairs.latency_ms_replay IS 'The replayed control''s latency in milliseconds, before winsorising.';
COMMENT ON COLUMN pairs.toxicity_bps_replay IS 'The replayed control''s toxicity in basis points, before winsorising.';
COMMENT ON COLUMN pairs.filled_size_replay IS 'The replayed control''s filled size, before winsorising.';
COMMENT ON COLUMN pairs.asked_size_replay IS 'The replayed control''s asked size, before winsorising.';
COMMENT ON TABLE arm_progress IS 'How far each arm of an experiment has come. A block is closed when control and variant have moved past it, and so have the replays of the control where there are any (these are waited for until the variant is a day ahead).';
COMMENT ON COLUMN arm_progress.replay_until IS 'Shadow only: time of the newest opportunity of the control that the backtester has replayed (UTC); null where it replays none.';
