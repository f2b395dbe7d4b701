-- The cells that are not what they were, out of all those of some experiments.
SELECT DISTINCT experiment_id, block, market_id
FROM (
    (SELECT * FROM made EXCEPT SELECT * FROM cells WHERE {inside})
    UNION ALL
    (SELECT * FROM cells WHERE {inside} EXCEPT SELECT * FROM made)
) AS differing
