"""The old place of the run launcher, kept so that a `dagster.yaml` with the old path still works."""
