-- How each experiment stands, for the partitions of `verdicts` in the UI.
SELECT experiment_id, state, verdict, sentence
FROM verdicts
WHERE experiment_id IN (SELECT unnest($experiments::VARCHAR[]));
