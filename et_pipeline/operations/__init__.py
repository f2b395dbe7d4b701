"""Where the run launcher lay before; a `dagster.yaml` that names the old path keeps loading."""
