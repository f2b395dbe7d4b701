SELECT experiment_id, block, count(*) AS pairs FROM pairs WHERE {inside} GROUP BY experiment_id, block
