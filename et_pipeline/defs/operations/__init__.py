"""Operation of a deployment: the run launcher, the event log, reports of failures, and the clean-up of old runs.

In: Dagster's runs and their failures. Out: runs on a code server, log lines, deleted runs.
"""
