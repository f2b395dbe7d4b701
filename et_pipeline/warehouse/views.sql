-- name: replay_gaps
-- The gap between replayed and live control by day: the ratio of totals of the replay less that of the live control. A
-- metric that is a mean over trades has no totals of single arms in its cells, so its whole difference stands in the
-- replay's part, and the live part is 0. A market on a day is taken from the experiment with the most pairs of it, since
-- experiments that share a control would otherwise count its trades several times. Sums are computed in the order of
-- blocks and markets, so that they do not depend on which of them came first. The standard error is that of the delta
-- method, with markets as clusters.
WITH seen AS (
    SELECT
        e.control_strategy_id AS strategy_id, e.control_config_version AS config_version, c.block::DATE AS day, c.metric,
        c.market_id, c.experiment_id, c.numerator_control IS NOT NULL AS of_totals,
        CASE WHEN of_totals AND split_part(c.metric, '.', 1) IN ({less_is_better}) THEN -1 ELSE 1 END AS direction,
        sum(c.n) AS n,
        sum(CASE WHEN of_totals THEN direction * c.numerator_variant ELSE c.sum END ORDER BY c.block) AS replayed,
        sum(CASE WHEN of_totals THEN c.denominator_variant ELSE c.n END ORDER BY c.block) AS replayed_by,
        sum(CASE WHEN of_totals THEN direction * c.numerator_control ELSE 0 END ORDER BY c.block) AS live,
        sum(CASE WHEN of_totals THEN c.denominator_control ELSE c.n END ORDER BY c.block) AS live_by
    FROM series_cells AS c
    INNER JOIN experiments AS e USING (experiment_id)
    WHERE c.comparison = '{comparison}'
    GROUP BY ALL
), fullest AS (
    SELECT *
    FROM seen
    QUALIFY row_number() OVER (
        PARTITION BY strategy_id, config_version, day, metric, market_id ORDER BY n DESC, experiment_id DESC
    ) = 1
), whole AS (
    SELECT
        *,
        nullif(sum(replayed_by) OVER own, 0) AS all_replayed_by, sum(replayed) OVER own / all_replayed_by AS mean_replayed,
        nullif(sum(live_by) OVER own, 0) AS all_live_by, sum(live) OVER own / all_live_by AS mean_live,
        (replayed - mean_replayed * replayed_by) / all_replayed_by - (live - mean_live * live_by) / all_live_by AS residual
    FROM fullest
    WINDOW own AS (
        PARTITION BY strategy_id, config_version, day, metric
        ORDER BY market_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
SELECT
    strategy_id, config_version, day, metric, sum(n)::BIGINT AS n_pairs, count(*) AS n_markets,
    any_value(mean_replayed - mean_live) AS mean_gap,
    CASE
        WHEN count(*) > 1 AND count(residual) > 0
            THEN sqrt(count(*) / (count(*) - 1) * sum(residual * residual ORDER BY market_id))
    END AS se
FROM whole
GROUP BY strategy_id, config_version, day, metric
