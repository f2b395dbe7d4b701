-- Keys that an arrival shares with another one or with a stored report.
SELECT report_key FROM arrivals GROUP BY report_key HAVING count(*) > 1
UNION
SELECT report_key FROM reports WHERE report_key IN (SELECT report_key FROM arrivals)
