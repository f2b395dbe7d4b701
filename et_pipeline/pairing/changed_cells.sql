-- name: changed_cells
-- The cells that are not what they were, out of all those of some experiments.
SELECT DISTINCT experiment_id, block, market_id
FROM (
    (SELECT * FROM made EXCEPT SELECT * FROM series_cells WHERE {inside})
    UNION ALL
    (SELECT * FROM series_cells WHERE {inside} EXCEPT SELECT * FROM made)
) AS differing
UNION
SELECT DISTINCT experiment_id, block, market_id
FROM (
    (SELECT * FROM made_missing EXCEPT SELECT * FROM missing_values WHERE {inside})
    UNION ALL
    (SELECT * FROM missing_values WHERE {inside} EXCEPT SELECT * FROM made_missing)
) AS differing_gaps
