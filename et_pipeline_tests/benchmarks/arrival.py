"""Time from a snapshot's final name until its message is in the outbox and its reports are in the published copy,
with the real daemon."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import duckdb

from et_pipeline.commands.run_tick import dagster_home
from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.generator import write_snapshots
from et_pipeline.settings import Settings
from et_pipeline_tests.benchmarks.measure import RUNTIME_PYTHON, Row
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, scenario
from et_pipeline_tests.waiting import wait_for

RUNS = 5
ALLOWED_S = 12.0
PATIENCE_S = 180.0
STEP_S = 2.6
"""The pause before a file grows by so much from file to file, so that files meet the daemon's rounds at every phase."""


def rows(folder: Path) -> Iterator[Row]:
    """The one row: each file ends one experiment, whose result is a message."""
    settings = Settings(data_dir=folder / "data")
    settings.experiments_dir.mkdir(parents=True)
    settings.report_bus_dir.mkdir()
    plans = [_plan(settings, f"arrival-{number}") for number in range(RUNS)]
    log = folder / "daemon.log"
    dagster_home(settings)
    with (
        dg.DagsterInstance.get() as instance
    ):  # first: two processes that make one SQLite database at once fail
        daemon = _start_daemon(settings, log)
        try:

            def ended() -> int:
                done = [dg.DagsterRunStatus.SUCCESS]
                return instance.get_runs_count(dg.RunsFilter(job_name="tick", statuses=done))

            wait_for(ended, PATIENCE_S, log.read_text, 0.2)
            seconds = []
            for number, plan in enumerate(plans):
                before = ended()
                time.sleep(number * STEP_S)
                seconds.append(_arrival(settings, folder / "ready", plan, log.read_text))
                wait_for(lambda before=before: ended() > before, PATIENCE_S, log.read_text, 0.2)
        finally:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
    each = ", ".join(f"{second:.1f}" for second in seconds)
    yield Row(
        f"from a file's final name to its message in the outbox and its reports in the published copy, median of {RUNS}",
        statistics.median(seconds),
        "the time allowed",
        ALLOWED_S,
        1.0,
        0.0,
        f"by the clock; the five took {each} s",
    )


def _plan(settings: Settings, name: str) -> Plan:
    text = PLAN.format(name=name, split=10, ends_at="2026-10-15T00:00:00Z")
    (settings.experiments_dir / f"{name}.yaml").write_text(text, encoding="utf-8")
    plan = parse_plan(text.encode(), name)
    assert isinstance(plan, Plan)
    return plan


def _start_daemon(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    """The daemon of `docs/production.md`, with the sensors as they are by default."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [Path(RUNTIME_PYTHON).with_name("dagster-daemon"), "run", "-m", "et_pipeline.definitions"],
            env={**os.environ, "ET_DATA_DIR": str(settings.data_dir)},
            cwd=settings.data_dir,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _arrival(settings: Settings, ready: Path, plan: Plan, complaint: Callable[[], str]) -> float:
    """Seconds from the rename of one file until both are there."""
    write_snapshots([scenario(plan, uplift={"edge_bps": 8.0})], ready, seed=7)
    (source,) = ready.iterdir()
    waiting = settings.report_bus_dir / f"{plan.experiment_id}.tmp"
    shutil.move(source, waiting)

    def there() -> bool:
        told = any(
            plan.experiment_id in text and "EXPERIMENT_RESULT" in text
            for text in (path.read_text(encoding="utf-8") for path in settings.outbox_dir.glob("*.json"))
        )
        if not told:
            return False
        query = "SELECT count(*) FROM reports WHERE strategy_id = ?"
        with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
            ((reports,),) = connection.execute(query, [plan.control.strategy_id]).fetchall()
        return bool(reports)

    waiting.rename(settings.report_bus_dir / f"{plan.experiment_id}{''.join(source.suffixes)}")
    started = time.monotonic()
    wait_for(there, PATIENCE_S, complaint)
    return time.monotonic() - started
