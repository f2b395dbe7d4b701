-- What went wrong, by kind; every kind has a row, so that a rate starts from 0.
SELECT 'quarantined_line' AS error, coalesce(sum(quarantined), 0)::BIGINT AS errors FROM snapshots
UNION ALL
SELECT 'delivery_failed', count(*) FILTER (status = 'failed') FROM deliveries
UNION ALL
SELECT 'delivery_dead', count(*) FILTER (status = 'dead') FROM deliveries
ORDER BY error
