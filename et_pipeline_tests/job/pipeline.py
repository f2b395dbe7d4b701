"""A data folder and the real `tick` job on an ephemeral Dagster instance, with a clock that the test sets."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from et_pipeline.contracts.plan import read_plans
from et_pipeline.definitions import defs
from et_pipeline.generator import Truth, write_snapshots
from et_pipeline.ingest.ticks import RANGE_END, RANGE_START, tick_request
from et_pipeline.resources.dagster import EXPERIMENTS
from et_pipeline.resources.settings import Settings
from et_pipeline_tests.conftest import SAMPLE_PLANS

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""After the samples' reports, before the young experiments end."""
PARTITIONS = str(EXPERIMENTS.name)


@dataclass
class Pipeline:
    """One data folder with its Dagster instance."""

    data_dir: Path
    instance: dg.DagsterInstance
    now: datetime = NOW
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "ET_DATA_DIR": str(self.data_dir),
            "ET_NOW": self.now.isoformat(),
            "ET_MEMORY_LIMIT": "500MB",
            **self.environment,
        }

    def tick(self, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        """One run over every experiment, as the sensor would start it."""
        request = tick_request(self.settings, self.instance.get_dynamic_partitions(PARTITIONS))
        self.instance.add_dynamic_partitions(PARTITIONS, request.new_experiments)
        return self._run("tick", request.tags, fails=fails)

    def rerun(self, experiment_id: str, assets: Sequence[str]) -> dg.ExecuteInProcessResult:
        """One experiment alone, as the UI's "materialize" of one partition starts it."""
        tags = {RANGE_START: experiment_id, RANGE_END: experiment_id}
        return self._run("tick", tags, asset_selection=[dg.AssetKey(name) for name in assets])

    def publish(self) -> dg.ExecuteInProcessResult:
        """Delivers what is pending."""
        return self._run("publish", {})

    def _run(
        self, job: str, tags: dict[str, str], *, fails: bool = False, **options: Any
    ) -> dg.ExecuteInProcessResult:
        run_config = {
            "resources": {"warehouse": {"config": {"environment": self._environment}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        result = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, run_config=run_config, raise_on_error=not fails, **options
        )
        assert result.success is not fails
        return result

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the warehouse answers."""
        with duckdb.connect(str(self.settings.warehouse_path), read_only=True) as connection:
            return connection.execute(query, list(parameters)).fetchall()

    def change(self, statement: str, *parameters: Any) -> None:
        """Tampers with the warehouse."""
        with duckdb.connect(str(self.settings.warehouse_path)) as connection:
            connection.execute(statement, list(parameters))

    def codes(self) -> Counter[tuple[str, str]]:
        """How often each experiment's reason codes, drift signals and review requests were emitted."""
        query = "SELECT experiment_id, coalesce(reason_code, kind), count(*) FROM events GROUP BY ALL"
        return Counter({(name, code): count for name, code, count in self.rows(query)})

    def verdicts(self) -> dict[str, tuple[str, str | None]]:
        """State and verdict of each experiment."""
        return {name: (state, verdict) for name, state, verdict in self.rows(
            "SELECT experiment_id, state, verdict FROM verdicts ORDER BY 1"
        )}


@contextmanager
def pipeline(data_dir: Path, *plans: str) -> Iterator[Pipeline]:
    """A pipeline on a data folder that holds copies of the named sample plans."""
    (data_dir / "experiments").mkdir(parents=True)
    (data_dir / "report_bus").mkdir()
    for name in plans:
        shutil.copy(SAMPLE_PLANS / f"{name}.yaml", data_dir / "experiments")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(data_dir, instance)


def generate(
    data_dir: Path, truths: dict[str, dict[str, Any]], *, folder: str = "report_bus", **options: Any
) -> Truth:
    """Writes reports for the sample plans in the folder, of which `truths` are true."""
    from et_pipeline.commands.samples import scenario

    known = {plan.experiment_id: plan for plan in read_plans(data_dir / "experiments")[0].values()}
    return write_snapshots(
        [scenario(known[name], **truth) for name, truth in truths.items()], data_dir / folder, **options
    )


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Checks that did not pass, with what they say."""
    return {
        check.check_name: check.description or ""
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }


def person(data_dir: Path, name: str) -> Path:
    """A person with a real SSH key who may sign; returns the private key."""
    key = data_dir / f"{name.split('@')[0]}.key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True
    )
    public = key.with_suffix(".key.pub").read_text(encoding="utf-8")
    with (data_dir / "allowed_signers").open("a", encoding="utf-8") as signers:
        signers.write(f"{name} {public}")
    return key
