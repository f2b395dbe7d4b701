-- What the review pages and their index show.

-- name: index
-- One row per experiment for the index of the review pages, the newest experiment first.
SELECT e.experiment_id, e.title, e.owner, e.mode, e.starts_at, e.ends_at, v.state, v.verdict, v.reason,
       v.decided_as_of, v.standing, v.registered_in_hindsight, v.weakened, e.follows, q.state AS promise,
       coalesce((e.plan->>'$.sample')::BOOLEAN, false) AS sample,
       (SELECT string_agg(sentence, ' ' ORDER BY stage) FROM failures AS f
        WHERE f.experiment_id = e.experiment_id) AS failures
FROM experiments AS e
LEFT JOIN verdicts AS v USING (experiment_id)
LEFT JOIN promises AS q USING (experiment_id)
ORDER BY e.starts_at DESC, e.experiment_id

-- name: families
-- The variants of each family, the largest uplift first.
SELECT f.*, e.title, e.owner, e.control_strategy_id, e.control_config_version, e.follows, v.state, v.reason
FROM families AS f
JOIN experiments AS e USING (experiment_id)
LEFT JOIN verdicts AS v USING (experiment_id)
ORDER BY f.family, f.mean_uplift DESC NULLS LAST, f.experiment_id

-- name: fingerprints
-- Two fingerprints of the content of each experiment's page: the second one of the deliveries of its messages, the
-- first one of everything else. Paths are not read, since any change of them also changes the latest interval. Pairs
-- are only counted.
WITH parts AS (
    SELECT experiment_id, hash(1, t) AS part FROM experiments AS t
    UNION ALL SELECT experiment_id, hash(2, t) FROM experiment_metrics AS t
    UNION ALL SELECT experiment_id, hash(3, t) FROM intervals AS t
    UNION ALL SELECT experiment_id, hash(4, t) FROM diagnostics AS t
    UNION ALL SELECT experiment_id, hash(5, t) FROM verdicts AS t
    UNION ALL SELECT experiment_id, hash(6, t) FROM (SELECT * EXCLUDE checked_at FROM sign_offs) AS t
    UNION ALL SELECT experiment_id, hash(7, t) FROM audit_log AS t
    UNION ALL SELECT experiment_id, hash(8, t) FROM events AS t
    UNION ALL SELECT experiment_id, hash(9, t) FROM drift_signals AS t
    UNION ALL SELECT experiment_id, hash(10, path, key, value, sentence) FROM plan_refusals
    UNION ALL SELECT experiment_id, hash(19, stage, sentence) FROM failures WHERE stage <> 'page'
    UNION ALL SELECT experiment_id, hash(11, max(as_of), count(*), max(e_value)) FROM sample_ratio GROUP BY experiment_id
    UNION ALL SELECT experiment_id, hash(22, t) FROM sample_ratio_groups AS t
    UNION ALL SELECT experiment_id, hash(12, metric, max(as_of), count(*), max(log_evidence)) FROM drift
              GROUP BY experiment_id, metric
    UNION ALL SELECT experiment_id, hash(14, arm, reason, count(*)) FROM unmatched GROUP BY experiment_id, arm, reason
    UNION ALL SELECT experiment_id, hash(15, t) FROM unmatched_elsewhere AS t
    UNION ALL SELECT experiment_id, hash(16, t) FROM replays AS t
    UNION ALL SELECT experiment_id, hash(21, t) FROM replay_fidelity AS t
    UNION ALL SELECT experiment_id, hash(17, count(*)) FROM pairs GROUP BY experiment_id
    UNION ALL SELECT experiment_id, hash(18, t) FROM pair_blocks_elsewhere AS t
    UNION ALL SELECT experiment_id, hash(20, t) FROM portfolio AS t WHERE sentence IS NOT NULL
    UNION ALL SELECT experiment_id, hash(21, t) FROM calibration AS t
    UNION ALL SELECT experiment_id, hash(22, t) FROM breakdowns AS t
    UNION ALL SELECT experiment_id, hash(23, t) FROM promises AS t
    UNION ALL SELECT e.experiment_id, hash(13, o) FROM experiments AS e JOIN outages AS o
              ON o.since < e.ends_at AND coalesce(o.until, e.ends_at) > e.starts_at
)
SELECT experiment_id, coalesce(figure, 0)::VARCHAR, coalesce(delivered, 0)::VARCHAR
FROM experiments
LEFT JOIN (SELECT experiment_id, sum(part) AS figure FROM parts GROUP BY ALL) USING (experiment_id)
LEFT JOIN (SELECT experiment_id, sum(hash(d)) AS delivered FROM deliveries AS d JOIN events USING (event_id) GROUP BY ALL)
USING (experiment_id)

-- name: events
-- The messages of each experiment, each with its newest delivery attempt.
SELECT e.*, r.meaning, r.action, d.status, d.destination, d.attempted_at
FROM events AS e
LEFT JOIN reason_codes AS r ON r.code = e.reason_code
LEFT JOIN (
    SELECT event_id, arg_max(status, (attempt, attempted_at)) AS status,
           arg_max(destination, (attempt, attempted_at)) AS destination, max(attempted_at) AS attempted_at
    FROM deliveries GROUP BY event_id
) AS d USING (event_id)
WHERE e.experiment_id IN (SELECT unnest($ids))
ORDER BY e.emitted_at, e.seq

-- name: outages
-- Outages that overlap each experiment's window.
SELECT e.experiment_id, o.*
FROM experiments AS e JOIN outages AS o ON o.since < e.ends_at AND coalesce(o.until, e.ends_at) > e.starts_at
WHERE e.experiment_id IN (SELECT unnest($ids))
ORDER BY o.since

-- name: pairs_over_time
-- Numbers of pairs of each experiment in at most about 60 equal spans of whole blocks.
WITH span AS (
    SELECT experiment_id, block, count(*) AS pairs FROM pairs WHERE experiment_id IN (SELECT unnest($ids)) GROUP BY ALL
    UNION ALL
    SELECT experiment_id, block, pairs FROM pair_blocks_elsewhere WHERE experiment_id IN (SELECT unnest($ids))
), width AS (
    SELECT experiment_id, epoch_us(min(block)) AS first, epoch_us(max(block)) AS last, any_value(time_block_us)
           * greatest(1, ceil((epoch_us(max(block)) - epoch_us(min(block))) / 60.0 / any_value(time_block_us)))::BIGINT AS us
    FROM span JOIN experiments USING (experiment_id) GROUP BY experiment_id
), filled AS (
    SELECT experiment_id, us, unnest(range((first // us)::BIGINT, (last // us)::BIGINT + 1)) AS number FROM width
)
SELECT f.experiment_id, make_timestamp(number * us) AS start, coalesce(sum(pairs), 0)::BIGINT AS pairs
FROM filled AS f LEFT JOIN span AS s ON s.experiment_id = f.experiment_id AND epoch_us(block) // us = number
GROUP BY f.experiment_id, number, us ORDER BY f.experiment_id, number

-- name: uplifts
-- Histogram of pairs by their uplift, with bars of equal width; the first and the last bar include all values beyond
-- them. {metric} is a name of the catalogue.
WITH counted AS (
    SELECT floor({metric}_uplift / $width) AS number, count(*) AS pairs
    FROM pairs WHERE experiment_id = $id AND {metric}_uplift IS NOT NULL GROUP BY number
), bars AS (
    SELECT greatest($first, least($last, number))::BIGINT AS number, sum(pairs)::BIGINT AS pairs FROM counted GROUP BY ALL
)
SELECT number * $width AS start, coalesce(pairs, 0) AS pairs
FROM range($first, $last + 1) AS every (number) LEFT JOIN bars USING (number)
ORDER BY number

-- name: unmatched
-- Numbers of each experiment's reports without a pair, by arm and reason.
SELECT experiment_id, arm, reason, count(*) AS reports FROM unmatched
WHERE experiment_id IN (SELECT unnest($ids)) GROUP BY ALL
UNION ALL
SELECT experiment_id, arm, reason, reports FROM unmatched_elsewhere WHERE experiment_id IN (SELECT unnest($ids))
ORDER BY ALL

-- name: replay_gaps
-- The replay gap of each control by day, for the primary metrics of its experiments, in the columns of a path.
SELECT
    strategy_id, metric, day::TIMESTAMP AS as_of,
    sum(n_pairs * mean_gap) / sum(n_pairs) AS mean_uplift,
    mean_uplift - 2 * sqrt(sum(n_pairs * n_pairs * se * se)) / sum(n_pairs) AS ci_lower,
    mean_uplift + 2 * sqrt(sum(n_pairs * n_pairs * se * se)) / sum(n_pairs) AS ci_upper
FROM replay_gaps
WHERE mean_gap IS NOT NULL AND (strategy_id, metric) IN (
    SELECT e.control_strategy_id, m.metric
    FROM experiments AS e INNER JOIN experiment_metrics AS m USING (experiment_id)
    WHERE m.role = 'primary'
)
GROUP BY strategy_id, metric, day
ORDER BY strategy_id, metric, day
