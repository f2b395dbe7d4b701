-- Stores the results of ssh-keygen for sign-offs, so that an unchanged one that does not count needs no process in a tick.
CREATE TABLE signature_checks (
    basis VARCHAR NOT NULL, key_fingerprint VARCHAR, by_owner BOOLEAN NOT NULL, refusal VARCHAR, sentence VARCHAR NOT NULL
);

COMMENT ON TABLE signature_checks IS 'Technical: outcomes of the checks of signatures, of sign-offs that do not count yet.';
COMMENT ON COLUMN signature_checks.basis IS 'Hash of all that the outcome depends on: the sign-off and its signature, allowed_signers, the owners of the plan, the day (UTC).';
COMMENT ON COLUMN signature_checks.key_fingerprint IS 'Fingerprint of the key that made the signature; null where the signature does not hold.';
COMMENT ON COLUMN signature_checks.by_owner IS 'Whether the key belongs to somebody who owns or owned the plan.';
COMMENT ON COLUMN signature_checks.refusal IS 'Machine-readable reason why the signature does not hold; null where it holds.';
COMMENT ON COLUMN signature_checks.sentence IS 'The outcome, for people.';
