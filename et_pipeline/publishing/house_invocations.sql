-- Messages by what they say. The decision is the authority's, Explain, for a reason code; else the message's kind.
SELECT CASE kind WHEN 'reason_code' THEN 'explain' ELSE kind END AS decision,
    coalesce(reason_code, '') AS reason_code,
    count(*) AS messages
FROM events GROUP BY ALL ORDER BY ALL
