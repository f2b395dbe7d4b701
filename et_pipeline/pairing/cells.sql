-- One metric's cells. Decimals add up exactly, in any order; the second pass takes squares around the mean.
WITH uplifts AS (
    SELECT
        p.experiment_id, p.block, p.market_id,
        {uplift} AS uplift,
        {touched} AS touched,
        {numerator_control} AS numerator_control, {denominator_control} AS denominator_control,
        {numerator_variant} AS numerator_variant, {denominator_variant} AS denominator_variant
    FROM stale_pairs AS p
    INNER JOIN experiment_metrics AS m ON m.experiment_id = p.experiment_id AND m.metric = '{metric}'
),
totals AS (
    SELECT
        experiment_id, block, market_id,
        count(*) AS n,
        CAST(sum(CAST(uplift AS {decimal})) AS DOUBLE) AS sum,
        CAST(sum(CAST(uplift * uplift AS {decimal})) AS DOUBLE) AS sum_squares,
        CAST(sum(CASE WHEN uplift > 0 THEN 1 ELSE 0 END) AS BIGINT) AS wins,
        CAST(sum(touched) AS BIGINT) AS winsorised,
        CAST(sum(CAST(numerator_control AS {total})) AS DOUBLE) AS numerator_control,
        CAST(sum(CAST(denominator_control AS {total})) AS DOUBLE) AS denominator_control,
        CAST(sum(CAST(numerator_variant AS {total})) AS DOUBLE) AS numerator_variant,
        CAST(sum(CAST(denominator_variant AS {total})) AS DOUBLE) AS denominator_variant
    FROM uplifts
    WHERE uplift IS NOT NULL
    GROUP BY experiment_id, block, market_id
),
spreads AS (
    SELECT
        u.experiment_id, u.block, u.market_id,
        CAST(sum(CAST((u.uplift - t.sum / t.n) * (u.uplift - t.sum / t.n) AS {decimal})) AS DOUBLE) AS m2
    FROM uplifts AS u
    INNER JOIN totals AS t
        ON t.experiment_id = u.experiment_id AND t.block = u.block AND t.market_id = u.market_id
    WHERE u.uplift IS NOT NULL
    GROUP BY u.experiment_id, u.block, u.market_id
)
SELECT
    t.experiment_id, '{metric}' AS metric, t.block, t.market_id,
    t.n, t.sum, t.sum_squares, s.m2, t.wins, t.winsorised,
    t.numerator_control, t.denominator_control, t.numerator_variant, t.denominator_variant
FROM totals AS t
INNER JOIN spreads AS s
    ON s.experiment_id = t.experiment_id AND s.block = t.block AND s.market_id = t.market_id
