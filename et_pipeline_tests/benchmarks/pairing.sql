-- {count} opportunities from number {first} on: a live control report, and the variant's replay of it.
-- Shuffled numbers (a multiplicative hash) give markets, times within the second, values; nothing is random.
WITH numbers AS (
    SELECT i, (i * 2654435761) % 4294967296 AS mix, (i * 40503 + 12345) % 65536 AS noise
    FROM range({first}, {first} + {count}) AS t(i)
),
opportunities AS (
    SELECT
        i, mix, noise, 'opportunity-' || i AS correlation_id, 'market-' || (mix % {markets}) AS market_id,
        CASE WHEN noise % 2 = 0 THEN 'yes' ELSE 'no' END AS outcome_id,
        CASE WHEN mix % 3 = 0 THEN 'SELL' ELSE 'BUY' END AS side,
        TIMESTAMP '2026-11-01' + to_microseconds(i * {spacing_us} + mix % {jitter_us}) AS emitted_at
    FROM numbers
),
arms AS (SELECT * FROM (VALUES ('control', 0), ('variant', 1)) AS a(arm, late))
SELECT
    arm || '-' || i AS report_id, '1.0' AS schema_version, 'exec.bot' AS bot_id, arm AS strategy_id,
    '1' AS config_version, CASE WHEN arm = 'variant' AND {shadow} THEN 'replay' ELSE 'live' END AS mode,
    CASE WHEN {shadow} THEN correlation_id ELSE arm || correlation_id END AS correlation_id,
    market_id, outcome_id, side,
    emitted_at + to_microseconds(late * (noise * 31 % {lag_us})) AS emitted_at,
    noise / 4096.0 - 8 + late * (mix % 1000) / 1000.0 AS edge_bps,
    noise / 8192.0 - late * (mix % 777) / 1000.0 AS slippage_bps,
    (noise % 101) / 101.0 AS fill_ratio, 1 + noise / 50.0 + late * (mix % 99) AS latency_ms,
    noise / 9000.0 AS toxicity_bps, CAST(NULL AS DOUBLE) AS filled_size, CAST(NULL AS DOUBLE) AS asked_size,
    CAST(NULL AS VARCHAR) AS extra, hash(arm, i) AS report_key,
    hash(CASE WHEN {shadow} THEN '' ELSE arm END, correlation_id, market_id, outcome_id, side) AS opportunity_key,
    hash(i) AS content_hash, 1 AS snapshot_id, i AS line, {batch} AS batch
FROM opportunities CROSS JOIN arms
ORDER BY i, arm
