-- name: other_arm
-- Per block and market: totals of one arm's value, and the pairs behind them, where the other arm has no value of
-- the metric and where it has one. Decimals add up exactly, in any order.
SELECT
    epoch_us(block) AS block, market_id,
    CAST(sum(CASE WHEN missing THEN CAST(value AS DECIMAL(38, 9)) ELSE 0 END) AS DOUBLE) AS sum_missing,
    CAST(sum(CASE WHEN missing THEN 1 ELSE 0 END) AS DOUBLE) AS n_missing,
    CAST(sum(CASE WHEN missing THEN 0 ELSE CAST(value AS DECIMAL(38, 9)) END) AS DOUBLE) AS sum_present,
    CAST(sum(CASE WHEN missing THEN 0 ELSE 1 END) AS DOUBLE) AS n_present
FROM (
    SELECT p.block, p.market_id, {value} AS value, ({gap}) IS NULL AS missing
    FROM pairs AS p
    WHERE
        p.experiment_id = '{experiment_id}' AND p.variant_report_id IS NOT NULL
        AND (({gap}) IS NOT NULL OR ({arms}) > 0)
) AS both_arms
WHERE value IS NOT NULL
GROUP BY block, market_id
ORDER BY block, market_id
