-- name: plan
-- The figures that an experiment has measured of its metric and its traffic: the assumptions for a similar plan.
SELECT
    d.sd_uplift AS sd, d.market_correlation AS within_market, d.block_correlation AS within_block,
    d.autocorrelation AS block_autocorrelation,
    i.n_pairs / i.n_blocks AS pairs_per_block,
    (SELECT count(DISTINCT market_id) FROM cells AS c
     WHERE c.experiment_id = d.experiment_id AND c.metric = d.metric) AS markets,
    (SELECT avg(life) FROM (
        SELECT date_diff('microsecond', min(block), max(block)) / any_value(e.time_block_us) + 1 AS life
        FROM cells AS c JOIN experiments AS e USING (experiment_id)
        WHERE c.experiment_id = d.experiment_id AND c.metric = d.metric GROUP BY market_id
    )) AS market_life,
    i.n_blocks, e.matching, e.traffic_split_pct / 100 AS split
FROM diagnostics AS d
JOIN intervals AS i USING (experiment_id, metric)
JOIN experiments AS e USING (experiment_id)
WHERE d.experiment_id = $experiment_id AND d.metric = $metric

-- name: control_trades
-- For an experiment that compares pairs: the variance of the control's single trades within a market, and the number of
-- trades per block. This variance cannot be computed from uplifts, which do not contain what both arms have in common.
WITH own AS (
    SELECT value, avg(value) OVER (PARTITION BY market_id) AS level, market_id
    FROM (SELECT {value} AS value, p.market_id FROM pairs AS p WHERE p.experiment_id = $experiment_id) AS trades
    WHERE value IS NOT NULL
)
SELECT
    sqrt(sum((value - level) * (value - level)) / nullif(count(*) - count(DISTINCT market_id), 0)) AS sd,
    (
        count(*) + (
            SELECT count(*) FROM unmatched
            WHERE
                experiment_id = $experiment_id AND arm = 'control'
                AND reason NOT IN ('superseded', 'too_early', 'after_end', 'passed', 'both_passed')
        )
    ) / $n_blocks AS trades_per_block
FROM own
