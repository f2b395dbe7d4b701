-- name: unsettled
-- The opportunities without a report of the variant that are not what they are by how far the variant has come.
SELECT u.experiment_id, u.opportunity_key
FROM unmatched AS u
INNER JOIN terms AS t ON t.experiment_id = u.experiment_id
WHERE u.{inside} AND u.reason = 'not_replayed' AND u.block < t.assumed_before
UNION
SELECT p.experiment_id, p.opportunity_key
FROM pairs AS p
INNER JOIN terms AS t ON t.experiment_id = p.experiment_id
WHERE p.{inside} AND p.variant_report_id IS NULL AND (t.assumed_before IS NULL OR p.block >= t.assumed_before)
