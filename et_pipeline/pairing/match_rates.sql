-- name: match_rates
-- Experiments and arms of which more than a share found no partner. In limited live most controls have none
-- by design: the variant sees only a small share of the traffic.
WITH opportunities AS (
    SELECT experiment_id, 'control' AS arm, 0 AS missed FROM pairs
    UNION ALL
    SELECT experiment_id, 'variant', 0 FROM pairs WHERE variant_report_id IS NOT NULL
    UNION ALL
    SELECT experiment_id, arm, 1 FROM unmatched WHERE reason NOT IN ('superseded', 'too_early', 'after_end', 'passed', 'both_passed')
)
SELECT experiment_id, arm, avg(missed) AS share
FROM opportunities
WHERE arm = 'variant' OR experiment_id NOT IN (SELECT experiment_id FROM experiments WHERE mode = 'limited_live')
GROUP BY experiment_id, arm
HAVING avg(missed) > {most}
ORDER BY experiment_id, arm
