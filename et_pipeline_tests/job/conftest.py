"""The real job on a real warehouse, with an ephemeral Dagster instance."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from et_pipeline.commands import samples
from et_pipeline.contracts.plan import read_plans
from et_pipeline.definitions import defs
from et_pipeline.defs.ticks import prepare_tick
from et_pipeline.due import fingerprint
from et_pipeline.generator import Truth, write_snapshots
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import SAMPLE_PLANS

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class World:
    """A data folder and the Dagster instance that runs its jobs."""

    folder: Path
    instance: dg.DagsterInstance
    environment: dict[str, str] = field(default_factory=lambda: {"ET_MODE": "limited_live"})

    @property
    def settings(self) -> Settings:
        return Settings.from_env({"ET_DATA_DIR": str(self.folder), **self.environment})

    def run(self, job: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        environment = {"ET_DATA_DIR": str(self.folder), **self.environment}
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config={**QUIET, "resources": {"warehouse": {"config": {"environment": environment}}}},
            raise_on_error=False,
            **arguments,
        )

    def tick(self) -> dg.ExecuteInProcessResult:
        """One run of the job `tick` over every experiment, as the sensor and `et tick` ask for it."""
        request = prepare_tick(self.settings, fingerprint(self.settings), self.instance)
        return self.run("tick", tags=request.tags)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What an analyst reads in the published database."""
        with duckdb.connect(str(self.settings.analyst_path), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def failed_checks(self, result: dg.ExecuteInProcessResult) -> set[str]:
        return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world without plans and reports."""
    for name in ("experiments", "report_bus"):
        (tmp_path / name).mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(tmp_path, instance)


@dataclass
class SampleRun:
    """The sample experiments after one tick."""

    world: World
    truth: Truth
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleRun]:
    """The sample plans, their generated reports, and one tick over them."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(SAMPLE_PLANS, folder / "experiments")
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(folder, instance)
        truth = generate(world)
        yield SampleRun(world, truth, world.tick())


def generate(world: World, *, opportunities: int | None = None, **arguments: Any) -> Truth:
    """Writes the sample experiments' snapshots, perhaps with fewer opportunities each."""
    plans, _ = read_plans(world.settings.experiments_dir)
    known = {plan.experiment_id: plan for plan in plans.values()}
    fewer = {} if opportunities is None else {"opportunities": opportunities}
    scenarios = [
        samples.scenario(known[name], **facts | fewer)
        for name, facts in samples.TRUTHS.items()
        if name in known
    ]
    options = {"seed": samples.SEED, "files": samples.FILES, "broken": 1, "skipped": 40} | arguments
    return write_snapshots(scenarios, world.settings.report_bus_dir, **options)
