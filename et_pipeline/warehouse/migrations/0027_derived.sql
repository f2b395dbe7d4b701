-- The column `metric` has the names of metrics that a plan derives; metrics weighted by size need to know who passed.
ALTER TABLE pairs ADD COLUMN replay_passed BOOLEAN;

COMMENT ON COLUMN pairs.replay_passed IS 'Whether the replayed control passed on the opportunity, where the plan counts passes; null where it does not, or where there is no replay.';
COMMENT ON COLUMN experiment_metrics.metric IS 'Name of the metric in the metric catalogue, for example edge_bps, or of one that the plan derives: edge_bps.by.filled_size (each trade counts by its size), latency_ms.above.500 (the share of trades above a limit), edge_bps.below.-50.';
COMMENT ON COLUMN missing_values.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN replay_fidelity.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN series_cells.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN series_interval_path.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN series_intervals.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN series_diagnostics.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
COMMENT ON COLUMN series_drift.metric IS 'Name of the metric (experiment_metrics.metric), for example edge_bps.';
