"""A Dagster job of a tick's shape in which nothing is done: the baseline of what a tick costs.

``python empty_job.py``, with ``DAGSTER_HOME`` set. Dagster's own storage keeps the run; the libraries that every tick needs
are imported.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import duckdb  # noqa: F401
import numpy  # noqa: F401
import pandera.polars  # noqa: F401
import polars  # noqa: F401
import scipy.special  # noqa: F401

STEPS = 11
"""Steps of a tick. Each makes two assets and evaluates two checks here; a tick has 30 assets and 23 checks."""


def _step(number: int) -> dg.AssetsDefinition:
    names = [f"asset_{number}_{place}" for place in range(2)]
    before = [f"asset_{number - 1}_0"] if number else []

    @dg.multi_asset(
        name=f"step_{number}",
        specs=[dg.AssetSpec(name, deps=before) for name in names],
        check_specs=[dg.AssetCheckSpec("check", asset=name) for name in names],
    )
    def step() -> Iterator[dg.MaterializeResult[None]]:
        for name in names:
            check = dg.AssetCheckResult(passed=True, asset_key=name)
            yield dg.MaterializeResult(asset_key=name, metadata={"rows": 1}, check_results=[check])

    return step


if __name__ == "__main__":
    job = dg.define_asset_job("tick", selection="*")
    defs = dg.Definitions(assets=[_step(number) for number in range(STEPS)], jobs=[job])
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance:
        assert defs.resolve_job_def("tick").execute_in_process(quiet, instance).success
