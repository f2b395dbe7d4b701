"""The old path of `et_pipeline.defs.operations.launcher`, which a deployment's `dagster.yaml` may still name."""

from et_pipeline.defs.operations.launcher import CodeServerRunLauncher

__all__ = ["CodeServerRunLauncher"]
