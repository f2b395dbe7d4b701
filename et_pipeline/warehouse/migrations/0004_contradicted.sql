-- A verdict that no longer follows from the evidence has a reason of its own, which older rows get here.
UPDATE verdicts
SET reason = CASE WHEN verdict IS NULL THEN 'verdict_withdrawn' ELSE 'verdict_contradicted' END
WHERE contradicted;
COMMENT ON COLUMN verdicts.reason IS 'Machine-readable reason of the state or verdict; verdict_withdrawn where an announced verdict no longer follows and none does, verdict_contradicted where another does.';
