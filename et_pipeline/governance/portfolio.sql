-- name: members
-- Every experiment that was evaluated, with the primary metric's figures at the verdict or at the end of the newest
-- closed block.
WITH judged AS (
    SELECT experiment_id, verdict, (standing->>'$.closed_until')::TIMESTAMP AS closed_until,
           standing->'$.standings[0]' AS primary_metric, standing->'$.standings[0].point' AS point,
           standing->'$.replay.like' AS alike, coalesce(standing->>'$.replay.state', 'unknown') <> 'unknown' AS replayed
    FROM verdicts
)
SELECT
    e.experiment_id, e.plan->>'$.family' AS family, coalesce((e.plan->>'$.sample')::BOOLEAN, false) AS sample, e.ends_at,
    j.verdict, j.closed_until, (j.point->>'$.as_of')::TIMESTAMP AS as_of, j.primary_metric->>'$.name' AS metric,
    (j.point->>'$.n_pairs')::BIGINT AS n_pairs, (j.point->>'$.mean_uplift')::DOUBLE AS mean_uplift,
    (j.point->>'$.se')::DOUBLE AS se, (j.point->>'$.ci_lower')::DOUBLE AS ci_lower,
    (j.point->>'$.ci_upper')::DOUBLE AS ci_upper,
    -- If the control is replayed, both comparisons have to show a better variant, so the smaller evidence counts.
    CASE
        WHEN NOT j.replayed THEN (j.point->>'$.e_value')::DOUBLE
        WHEN coalesce((j.alike->>'$.mean_uplift')::DOUBLE, 0) <= 0 THEN 0.0
        ELSE least((j.point->>'$.e_value')::DOUBLE, (j.alike->>'$.e_value')::DOUBLE)
    END AS evidence
FROM experiments AS e
INNER JOIN judged AS j USING (experiment_id)
ORDER BY e.experiment_id
