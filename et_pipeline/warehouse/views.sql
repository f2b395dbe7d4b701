-- name: replay_gaps
-- The gap between replayed and live control by day. A market on a day is taken from the experiment with the most pairs
-- of it, since experiments that share a control would otherwise count its trades several times. Metrics weighted by
-- size are left out, since they have no mean over trades. Sums are computed in the order of blocks and markets, so that
-- they do not depend on which of them came first.
WITH seen AS (
    SELECT
        e.control_strategy_id AS strategy_id, e.control_config_version AS config_version, c.block::DATE AS day, c.metric,
        c.market_id, c.experiment_id, sum(c.n) AS n, sum(c.sum ORDER BY c.block) AS total
    FROM series_cells AS c
    INNER JOIN experiments AS e USING (experiment_id)
    WHERE c.comparison = '{comparison}' AND c.metric NOT LIKE '%.by.%'
    GROUP BY ALL
), fullest AS (
    SELECT
        strategy_id, config_version, day, metric, market_id,
        max(n) AS n, arg_max(total, (n, experiment_id)) AS total
    FROM seen
    GROUP BY ALL
), means AS (
    SELECT *, sum(total) OVER own / sum(n) OVER own AS mean_gap
    FROM fullest
    WINDOW own AS (
        PARTITION BY strategy_id, config_version, day, metric
        ORDER BY market_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    strategy_id, config_version, day, metric, sum(n)::BIGINT AS n_pairs, count(*) AS n_markets,
    any_value(mean_gap) AS mean_gap,
    CASE
        WHEN count(*) > 1
            THEN sqrt(
                count(*) / (count(*) - 1) * sum((total - n * mean_gap) * (total - n * mean_gap) ORDER BY market_id)
            ) / sum(n)
    END AS se
FROM means
GROUP BY strategy_id, config_version, day, metric
