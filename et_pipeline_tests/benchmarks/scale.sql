-- The lines of one day: {count} opportunities from number {first} on, a live control report and the variant's
-- replay of each. Two hundred markets are open at a time, each for three days. Shuffled numbers (a multiplicative
-- hash) give markets, times and values; nothing is random. The variant is better by half a basis point on average.
WITH opportunities AS (
    SELECT
        i, (i * 2654435761) % 4294967296 AS mix, (i * 40503 + 12345) % 65536 AS noise,
        'market-' || ({day} // 3 * 200 + (i * 2654435761) % 4294967296 % 200) AS market_id,
        TIMESTAMP '2026-10-01' + to_days({day}) + to_microseconds(
            (i - {first}) * 86400000000 // {count}
        ) AS moment
    FROM range({first}, {first} + {count}) AS t(i)
),
arms AS (SELECT * FROM (VALUES ('control', 0), ('variant', 1)) AS a(arm, late))
SELECT
    '1.0' AS schema_version, arm || '-' || i AS report_id, 'OperationsReport' AS kind,
    CASE late WHEN 1 THEN 'gov.backtester' ELSE 'exec.bot' END AS bot_id,
    'strat.scale' AS strategy_id, CASE late WHEN 1 THEN 'replay' ELSE 'live' END AS mode,
    'opportunity-' || i AS correlation_id, market_id,
    CASE WHEN noise % 2 = 0 THEN 'yes' ELSE 'no' END AS outcome_id,
    CASE WHEN mix % 3 = 0 THEN 'SELL' ELSE 'BUY' END AS side,
    strftime(moment + to_microseconds(late * (noise * 31 % 3000000)), '%Y-%m-%dT%H:%M:%S.%fZ') AS emitted_at,
    CAST(late + 1 AS VARCHAR) AS config_version,
    {{
        'edge_bps': round(noise / 4096.0 - 8 + late * (mix % 1000) / 1000.0, 4),
        'slippage_bps': round(noise / 8192.0 - late * (mix % 777) / 1000.0, 4),
        'fill_ratio': round((noise % 101) / 101.0, 4),
        'latency_ms': round(1 + noise / 50.0 + late * (mix % 99), 3)
    }} AS metrics
FROM opportunities CROSS JOIN arms
ORDER BY i, arm
