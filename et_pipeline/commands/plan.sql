-- name: plan
-- What an experiment has shown of its metric and its traffic: the assumptions of a plan like it.
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
    i.n_blocks
FROM diagnostics AS d
JOIN intervals AS i USING (experiment_id, metric)
WHERE d.experiment_id = $experiment_id AND d.metric = $metric
