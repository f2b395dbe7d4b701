-- name: missing_values
-- Numbers of pairs without a value of one metric: in either arm, in the control's, in the variant's report. Also the
-- number of blocks with such a pair, the last of these blocks, and the block with the highest share of such pairs.
WITH lacking AS (
    SELECT block, sum(pairs) AS pairs, sum(control) AS control, sum(variant) AS variant
    FROM missing_values
    WHERE experiment_id = $experiment_id AND metric = $metric GROUP BY block
), valued AS (
    SELECT block, sum(n) AS pairs
    FROM cells
    WHERE experiment_id = $experiment_id AND metric = $metric AND block IN (SELECT block FROM lacking) GROUP BY block
), shares AS (
    SELECT lacking.*, (lacking.pairs / (lacking.pairs + coalesce(valued.pairs, 0)))::DOUBLE AS share
    FROM lacking LEFT JOIN valued USING (block)
)
SELECT
    coalesce(sum(pairs), 0)::BIGINT, coalesce(sum(control), 0)::BIGINT, coalesce(sum(variant), 0)::BIGINT,
    count(*), max(block), max(share), arg_min(block, (-share, block))
FROM shares

-- name: other_arm
-- For each block and market: totals of one arm's value and the numbers of pairs, once over pairs in which the other arm
-- has no value of the metric, and once over pairs in which it has one. Decimals add up exactly, in any order.
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

-- name: replays
-- For each block, how many of the opportunities that the control traded were replayed, passed on or not reported by the
-- variant. A missing replay is counted from `unmatched`, so a pair without a report of the variant is an assumed pass.
SELECT
    experiment_id, epoch_us(block) AS block, count(*) AS opportunities,
    CAST(sum(CASE WHEN kind = 'passed' THEN 1 ELSE 0 END) AS BIGINT) AS passed,
    CAST(sum(CASE WHEN kind = 'assumed' THEN 1 ELSE 0 END) AS BIGINT) AS assumed,
    CAST(sum(CASE WHEN kind = 'missing' THEN 1 ELSE 0 END) AS BIGINT) AS missing
FROM (
    SELECT
        experiment_id, block,
        CASE
            WHEN variant_report_id IS NULL THEN 'assumed'
            WHEN passed = 'variant' THEN 'passed'
            ELSE 'traded'
        END AS kind
    FROM pairs
    WHERE {inside} AND coalesce(passed, '') <> 'control'
    UNION ALL
    SELECT experiment_id, block, CASE WHEN reason = 'variant_passed' THEN 'passed' ELSE 'missing' END
    FROM unmatched
    WHERE {inside} AND arm = 'control' AND reason IN ('variant_passed', 'no_variant', 'not_replayed')
) AS opportunities
GROUP BY experiment_id, block

-- name: replays_changed
-- The experiments whose stored rows of `replays` differ from what was counted now.
SELECT DISTINCT experiment_id
FROM (
    (SELECT * FROM counted EXCEPT ALL SELECT * FROM replays WHERE {inside})
    UNION ALL
    (SELECT * FROM replays WHERE {inside} EXCEPT ALL SELECT * FROM counted)
) AS differing
