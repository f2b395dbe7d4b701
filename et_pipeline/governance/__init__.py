"""The rules: lifecycle, verdicts, sign-offs and messages. Every decision is written to the audit log.

In: the tables of `evidence` and signed files. Out: `verdicts`, `events`, `drift_signals`, `sign_offs`, `audit_log`.
It never proposes, approves or blocks a trade, and never promotes.
"""
