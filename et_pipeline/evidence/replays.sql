-- name: replays
-- What the variant's reports say of the opportunities that the control traded, per block. A missing replay counts by
-- its own reason, so a pair without a report of the variant is an assumed pass.
SELECT
    experiment_id, epoch_us(block) AS block, count(*) AS opportunities,
    CAST(sum(CASE WHEN kind = 'passed' THEN 1 ELSE 0 END) AS BIGINT) AS passed,
    CAST(sum(CASE WHEN kind = 'assumed' THEN 1 ELSE 0 END) AS BIGINT) AS assumed,
    CAST(sum(CASE WHEN kind = 'missing' THEN 1 ELSE 0 END) AS BIGINT) AS missing
FROM (
    SELECT
        experiment_id, block,
        CASE
            WHEN variant_report_id IS NULL THEN 'assumed'
            WHEN passed = 'variant' THEN 'passed'
            ELSE 'traded'
        END AS kind
    FROM pairs
    WHERE {inside} AND coalesce(passed, '') <> 'control'
    UNION ALL
    SELECT experiment_id, block, CASE WHEN reason = 'variant_passed' THEN 'passed' ELSE 'missing' END
    FROM unmatched
    WHERE {inside} AND arm = 'control' AND reason IN ('variant_passed', 'no_variant', 'not_replayed')
) AS opportunities
GROUP BY experiment_id, block

-- name: replays_changed
-- The experiments of which the rows of `replays` are not what was counted now.
SELECT DISTINCT experiment_id
FROM (
    (SELECT * FROM counted EXCEPT ALL SELECT * FROM replays WHERE {inside})
    UNION ALL
    (SELECT * FROM replays WHERE {inside} EXCEPT ALL SELECT * FROM counted)
) AS differing
