-- 1 for each destination whose newest attempt failed, 0 for the others that were tried.
SELECT destination, (arg_max(status, attempted_at) = 'failed')::INTEGER AS unavailable
FROM deliveries WHERE status IN ('delivered', 'failed', 'dead')
GROUP BY destination ORDER BY destination
