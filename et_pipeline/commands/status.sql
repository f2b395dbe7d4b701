-- name: status
-- One row per experiment: what a person who watches experiments wants to know first.
SELECT
    e.experiment_id, e.title, e.mode, e.owner, e.traffic_split_pct, e.starts_at, e.ends_at, e.plan_hash,
    v.state, v.verdict, v.reason, v.decided_as_of, v.sentence, v.missing, coalesce(v.contradicted, false) AS contradicted,
    v.standing, coalesce(v.weakened, false) AS weakened, v.evidence_hash, v.announced_evidence_hash,
    e.plan->>'$.promotion' AS promotion, coalesce(v.registered_in_hindsight, false) AS registered_in_hindsight, v.already_there,
    coalesce((e.plan->>'$.sample')::BOOLEAN, false) AS sample,
    e.follows, q.state AS promise, q.sentence AS promise_sentence,
    coalesce(c.reason_codes, []) AS reason_codes, coalesce(s.signals, 0) AS drift_signals,
    p.family, p.stands, p.threshold, p.counted, p.sentence AS discovery,
    coalesce(r.refusals, []) AS refused_changes, coalesce(f.failures, []) AS failures
FROM experiments AS e
LEFT JOIN verdicts AS v ON v.experiment_id = e.experiment_id
LEFT JOIN portfolio AS p ON p.experiment_id = e.experiment_id
LEFT JOIN promises AS q ON q.experiment_id = e.experiment_id
LEFT JOIN (
    SELECT experiment_id, list(DISTINCT reason_code ORDER BY reason_code) AS reason_codes
    FROM events WHERE reason_code IS NOT NULL GROUP BY experiment_id
) AS c ON c.experiment_id = e.experiment_id
LEFT JOIN (
    SELECT experiment_id, count(*) AS signals FROM drift_signals GROUP BY experiment_id
) AS s ON s.experiment_id = e.experiment_id
LEFT JOIN (
    SELECT experiment_id, list(path || ': ' || key || ': ' || sentence ORDER BY key) AS refusals
    FROM plan_refusals GROUP BY experiment_id
) AS r ON r.experiment_id = e.experiment_id
LEFT JOIN (
    SELECT experiment_id, list(sentence ORDER BY stage) AS failures FROM failures GROUP BY experiment_id
) AS f ON f.experiment_id = e.experiment_id
ORDER BY e.experiment_id

-- name: family
-- The variants of one family, the largest uplift first.
SELECT f.*, e.title, e.owner, e.control_strategy_id, v.state, v.reason
FROM families AS f
JOIN experiments AS e USING (experiment_id)
LEFT JOIN verdicts AS v USING (experiment_id)
WHERE f.family = $family
ORDER BY f.mean_uplift DESC NULLS LAST, f.experiment_id
