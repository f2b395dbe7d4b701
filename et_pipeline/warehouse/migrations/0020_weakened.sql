-- Whether the present interval no longer supports a verdict.
ALTER TABLE verdicts ADD COLUMN weakened BOOLEAN DEFAULT false;
COMMENT ON COLUMN verdicts.weakened IS 'Whether the interval at the newest closed block would no longer give the announced verdict; the verdict stands, and an approval has to say that its signer knows.';
COMMENT ON COLUMN notices.topic IS 'verdict_contradicted, verdict_weakened, check_failed, check_warning or run_failed.';
