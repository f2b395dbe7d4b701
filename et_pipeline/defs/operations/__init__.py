"""What keeps a deployment running: the run launcher, told failures, and the clean-up of old runs.

In: Dagster's runs and their failures. Out: runs on a code server, log lines, deleted runs.
"""
