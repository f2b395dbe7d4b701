-- For each experiment two figures that change whenever its page would: the second one follows the deliveries of
-- its messages, the first one everything else. Paths, pairs and unmatched reports are not
-- read: what changes them changes the latest interval or the diagnostics too.
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
    UNION ALL SELECT experiment_id, hash(11, max(as_of), count(*), max(e_value)) FROM sample_ratio GROUP BY experiment_id
    UNION ALL SELECT experiment_id, hash(12, metric, max(as_of), count(*), max(log_evidence)) FROM drift
              GROUP BY experiment_id, metric
    UNION ALL SELECT e.experiment_id, hash(13, o) FROM experiments AS e JOIN outages AS o
              ON o.since < e.ends_at AND coalesce(o.until, e.ends_at) > e.starts_at
)
SELECT experiment_id, coalesce(figure, 0)::VARCHAR, coalesce(delivered, 0)::VARCHAR
FROM experiments
LEFT JOIN (SELECT experiment_id, sum(part) AS figure FROM parts GROUP BY ALL) USING (experiment_id)
LEFT JOIN (SELECT experiment_id, sum(hash(d)) AS delivered FROM deliveries AS d JOIN events USING (event_id) GROUP BY ALL)
USING (experiment_id)
