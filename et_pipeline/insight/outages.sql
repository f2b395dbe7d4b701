-- Outages that overlap each experiment.
SELECT e.experiment_id, o.*
FROM experiments AS e JOIN outages AS o ON o.since < e.ends_at AND coalesce(o.until, e.ends_at) > e.starts_at
WHERE e.experiment_id IN (SELECT unnest($ids))
ORDER BY o.since
