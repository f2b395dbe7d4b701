-- Experiments and arms of which more than a share found no partner.
WITH opportunities AS (
    SELECT experiment_id, 'control' AS arm, 0 AS missed FROM pairs
    UNION ALL
    SELECT experiment_id, 'variant', 0 FROM pairs WHERE variant_report_id IS NOT NULL
    UNION ALL
    SELECT experiment_id, arm, 1 FROM unmatched WHERE reason <> 'superseded'
)
SELECT experiment_id, arm, avg(missed) AS share
FROM opportunities
GROUP BY experiment_id, arm
HAVING avg(missed) > $most
ORDER BY experiment_id, arm
