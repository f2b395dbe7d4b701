-- The cells of the uplift have the sum of each arm's values, of which the level of each arm is made. Every cell is
-- computed again, and with it every path; checkpoints have these sums too.
DELETE FROM series_checkpoints;
INSERT INTO stale_cells
SELECT experiment_id, block, market_id FROM series_cells UNION SELECT experiment_id, block, market_id FROM missing_values;

COMMENT ON COLUMN series_cells.numerator_control IS 'The control''s Σ numerator of a ratio, else Σ of its values; null for other comparisons than the uplift if the metric is no ratio.';
COMMENT ON COLUMN series_cells.denominator_control IS 'The control''s Σ denominator of a ratio, else the number of its values; null as before.';
COMMENT ON COLUMN series_cells.numerator_variant IS 'The variant''s Σ numerator of a ratio, else Σ of its values; null as before.';
COMMENT ON COLUMN series_cells.denominator_variant IS 'The variant''s Σ denominator of a ratio, else the number of its values; null as before.';
COMMENT ON COLUMN segment_cells.numerator_control IS 'The control''s Σ numerator of a ratio, else Σ of its values.';
COMMENT ON COLUMN segment_cells.denominator_control IS 'The control''s Σ denominator of a ratio, else the number of its values.';
COMMENT ON COLUMN segment_cells.numerator_variant IS 'The variant''s Σ numerator of a ratio, else Σ of its values.';
COMMENT ON COLUMN segment_cells.denominator_variant IS 'The variant''s Σ denominator of a ratio, else the number of its values.';
