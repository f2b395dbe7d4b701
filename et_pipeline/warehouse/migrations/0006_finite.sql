-- An end of an interval that is not bounded yet becomes null, as the comments say, and is no longer infinite.
UPDATE interval_path SET ci_lower = NULL WHERE isinf(ci_lower);
UPDATE interval_path SET ci_upper = NULL WHERE isinf(ci_upper);
UPDATE interval_path SET fixed_ci_lower = NULL WHERE isinf(fixed_ci_lower);
UPDATE interval_path SET fixed_ci_upper = NULL WHERE isinf(fixed_ci_upper);
UPDATE interval_path SET alarm_ci_lower = NULL WHERE isinf(alarm_ci_lower);
UPDATE interval_path SET alarm_ci_upper = NULL WHERE isinf(alarm_ci_upper);
UPDATE interval_path SET e_value = 1.7976931348623157e308 WHERE isinf(e_value);
UPDATE intervals SET ci_lower = NULL WHERE isinf(ci_lower);
UPDATE intervals SET ci_upper = NULL WHERE isinf(ci_upper);
UPDATE intervals SET fixed_ci_lower = NULL WHERE isinf(fixed_ci_lower);
UPDATE intervals SET fixed_ci_upper = NULL WHERE isinf(fixed_ci_upper);
UPDATE intervals SET alarm_ci_lower = NULL WHERE isinf(alarm_ci_lower);
UPDATE intervals SET alarm_ci_upper = NULL WHERE isinf(alarm_ci_upper);
UPDATE intervals SET e_value = 1.7976931348623157e308 WHERE isinf(e_value);
ALTER TABLE drift ALTER COLUMN log_evidence DROP NOT NULL;
UPDATE drift SET log_evidence = NULL WHERE isinf(log_evidence);

COMMENT ON COLUMN drift.log_evidence IS 'Natural logarithm of the detector''s evidence; null where there is none.';
