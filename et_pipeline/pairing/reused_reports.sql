-- Reports that stand in more than one pair of an experiment.
SELECT experiment_id, report_id
FROM (
    SELECT experiment_id, control_report_id AS report_id FROM pairs
    UNION ALL
    SELECT experiment_id, variant_report_id FROM pairs WHERE variant_report_id IS NOT NULL
) AS used
GROUP BY experiment_id, report_id
HAVING count(*) > 1
ORDER BY experiment_id, report_id
LIMIT 20
