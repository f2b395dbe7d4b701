-- name: stale
-- The cells of some pairs, which have to be computed again.
SELECT DISTINCT experiment_id, block, market_id FROM {pairs}

-- name: stale_now
-- The cells to compute again, with a number for each, since grouping by one number is faster than by three columns.
SELECT row_number() OVER (ORDER BY experiment_id, block, market_id) AS cell, experiment_id, block, market_id
FROM (
    SELECT DISTINCT experiment_id, block, market_id FROM stale_cells
    WHERE experiment_id IN (SELECT experiment_id FROM chosen)
) AS distinct_cells

-- name: stale_pairs
-- The pairs of the stale cells, of experiments that compare pairs.
SELECT
    s.cell,
    {columns}
FROM pairs AS p
INNER JOIN stale AS s
    ON s.experiment_id = p.experiment_id AND s.block = p.block AND s.market_id = p.market_id
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE t.matching <> 'arms'

-- name: cells
-- One series' cells. Decimals add up exactly, in any order. A second pass sums the squared deviations from the mean.
WITH uplifts AS (
    SELECT
        p.cell, {uplift} AS uplift, {touched} AS touched,
        {numerator_control} AS numerator_control, {numerator_variant} AS numerator_variant,
        {denominator_control} AS denominator_control, {denominator_variant} AS denominator_variant
    FROM {pairs} AS p
),
totals AS (
    SELECT
        cell,
        count(*) AS n,
        CAST(sum(CAST(uplift AS {decimal})) AS DOUBLE) AS sum,
        CAST(sum(CAST(uplift * uplift AS {decimal})) AS DOUBLE) AS sum_squares,
        CAST(sum(CASE WHEN uplift > 0 THEN 1 ELSE 0 END) AS BIGINT) AS wins,
        CAST(sum(touched) AS BIGINT) AS winsorised,
        CAST(sum(CAST(numerator_control AS {total})) AS DOUBLE) AS numerator_control,
        CAST(sum(CAST(numerator_variant AS {total})) AS DOUBLE) AS numerator_variant,
        CAST(sum(CAST(denominator_control AS {total})) AS DOUBLE) AS denominator_control,
        CAST(sum(CAST(denominator_variant AS {total})) AS DOUBLE) AS denominator_variant
    FROM uplifts
    WHERE uplift IS NOT NULL
    GROUP BY cell
),
spreads AS (
    SELECT
        u.cell,
        CAST(sum(CAST((u.uplift - t.sum / t.n) * (u.uplift - t.sum / t.n) AS {decimal})) AS DOUBLE) AS m2
    FROM uplifts AS u
    INNER JOIN totals AS t ON t.cell = u.cell
    WHERE u.uplift IS NOT NULL
    GROUP BY u.cell
)
SELECT
    c.experiment_id, m.metric, c.block, c.market_id,
    t.n, t.sum, t.sum_squares, s.m2, t.wins, t.winsorised,
    t.numerator_control, t.denominator_control, t.numerator_variant, t.denominator_variant,
    '{comparison}' AS comparison, CAST(NULL AS BIGINT) AS n_control, CAST(NULL AS BIGINT) AS n_variant{more}
FROM {stale} AS c
INNER JOIN experiment_metrics AS m ON m.experiment_id = c.experiment_id AND m.metric = '{metric}'
INNER JOIN totals AS t ON t.cell = c.cell
INNER JOIN spreads AS s ON s.cell = c.cell
ORDER BY c.cell

-- name: missing
-- The number of pairs in each stale cell that have no value of one metric, see `missing_values`.
SELECT c.experiment_id, m.metric, c.block, c.market_id, g.pairs, g.control, g.variant
FROM stale AS c
INNER JOIN experiment_metrics AS m ON m.experiment_id = c.experiment_id AND m.metric = '{metric}'
INNER JOIN (
    SELECT
        p.cell, count(*) AS pairs,
        CAST(sum(CASE WHEN p.{column}_missing IN (1, 3) THEN 1 ELSE 0 END) AS BIGINT) AS control,
        CAST(sum(CASE WHEN p.{column}_missing IN (2, 3) THEN 1 ELSE 0 END) AS BIGINT) AS variant
    FROM stale_pairs AS p
    WHERE p.{column}_missing > 0
    GROUP BY p.cell
) AS g ON g.cell = c.cell

-- name: changed
-- The cells of some experiments for which the rows in {made} differ from the rows in {stored}.
SELECT experiment_id, block, market_id
FROM (
    (SELECT * FROM {made} EXCEPT SELECT * FROM {stored} WHERE {inside})
    UNION ALL
    (SELECT * FROM {stored} WHERE {inside} EXCEPT SELECT * FROM {made})
) AS differing
