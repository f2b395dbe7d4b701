-- name: spread
-- Median and spread of single pairs; {metric} is a name of the metric catalogue.
SELECT median({metric}_uplift), stddev_samp({metric}_uplift)
FROM pairs
WHERE experiment_id = '{experiment_id}' AND {metric}_uplift IS NOT NULL
