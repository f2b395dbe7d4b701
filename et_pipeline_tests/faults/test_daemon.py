"""The real daemon, as docs/production.md starts it: killed in the middle of runs, and without an answer from a sensor.

A run is held in its middle by its own lock: whoever has the warehouse's file makes it wait between two steps.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.test_utils import freeze_time
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._grpc.client import DagsterGrpcClient
from filelock import FileLock

from et_pipeline.generator import write_snapshots
from et_pipeline.insight.published import pages_follow
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT, is_current, run_et
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, parse_plan, scenario
from et_pipeline_tests.operations.machines import Machine, free_port, impatient, stop
from et_pipeline_tests.waiting import wait_for

T = TypeVar("T")
pytestmark = pytest.mark.xdist_group("daemon")

SENSOR_TIMEOUT_S = 4
TIMED_OUT = "timed out due to taking longer than {} seconds"
PATIENCE_S = 3
"""How long a code server that gives no answer is waited for; two minutes in production."""


def told(database: Path) -> tuple[list[str], list[str]]:
    """The ids of all events and of the delivered ones, as a database has them."""
    with duckdb.connect(str(database), read_only=True) as connection:
        events = connection.execute("SELECT event_id FROM events ORDER BY 1").fetchall()
        delivered = connection.execute(
            "SELECT event_id FROM deliveries WHERE status = 'delivered' ORDER BY 1"
        ).fetchall()
    return [row[0] for row in events], [row[0] for row in delivered]


@dataclass
class Service:
    """A data folder, its daemon, and Dagster's storage as a third party sees it."""

    machine: Machine
    instance: dg.DagsterInstance
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.machine.environment)

    def start(self) -> None:
        self.processes.append(self.machine.start("dagster-daemon", "run", "-m", "et_pipeline.definitions"))

    def start_code_server(self) -> tuple[subprocess.Popen[bytes], int]:
        """A code server of its own, as docs/several-machines.md starts it, and its port."""
        port = free_port()
        address = ("-h", "127.0.0.1", "-p", str(port))
        server = self.machine.start("dagster", "api", "grpc", "-m", "et_pipeline.definitions", *address)
        self.processes.append(server)
        return server, port

    def start_apart(self) -> subprocess.Popen[bytes]:
        """The daemon beside a code server of its own; returns that one."""
        shutil.copy(PROJECT / "docs" / "several-machines" / "workspace.yaml", self.machine.folder)
        server, port = self.start_code_server()
        self.machine.environment |= {"ET_CODE_HOST": "127.0.0.1", "ET_CODE_PORT": str(port)}
        self.processes.append(self.machine.start("dagster-daemon", "run", "-w", "workspace.yaml"))
        return server

    def kill(self, *, with_runs: bool) -> None:
        """SIGKILL to the daemon alone, or to its code server and run workers too, as when the machine goes down."""
        daemon = self.processes[-1]
        if with_runs:
            stop(daemon)
        else:
            daemon.kill()
            daemon.wait(30)

    def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def bring_reports(self, seed: int, uplift: float = 8.0) -> None:
        text = (self.settings.experiments_dir / "iota.yaml").read_bytes()
        write_snapshots(
            [scenario(parse_plan(text, "iota.yaml"), opportunities=400, uplift={"edge_bps": uplift})],
            self.settings.report_bus_dir / str(seed),
            seed=seed,
        )

    def wait_for(self, what: Callable[[], T], seconds: float = 120) -> T:
        return wait_for(what, seconds, self._complaint)

    def _complaint(self) -> str:
        runs = [(run.job_name, run.status, run.run_id) for run in self.instance.get_runs()]
        return f"{runs}; the daemon's log ends with {self.machine.log()}"

    def run(self, job: str, *statuses: dg.DagsterRunStatus) -> str | None:
        """The newest run of a job that is in one of these states."""
        found = self.instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(statuses)), limit=1)
        return found[0].run_id if found else None

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def done(self, run_id: str) -> set[str | None]:
        """The steps of a run that have ended."""
        return {
            entry.get_dagster_event().step_key
            for entry in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
        }

    @contextmanager
    def held(self, run_id: str, after: str) -> Iterator[None]:
        """Makes a run wait in its middle, from the end of a step on."""
        lock = FileLock(self.settings.warehouse_path.with_suffix(".lock"), timeout=60)
        until = time.monotonic() + 90
        while time.monotonic() < until:
            with lock.acquire(poll_interval=0.002):
                if after in self.done(run_id):
                    assert self.status(run_id) == dg.DagsterRunStatus.STARTED, "it was too fast to be held"
                    yield
                    return
            time.sleep(0.01)
        raise AssertionError(f"run {run_id} did not come to the end of {after}: {self.machine.log()}")

    def comes_to_rest(self) -> None:
        """Waits until all is told, delivered and published and no run goes on; then nothing is lost or twice."""
        settings = self.settings

        def at_rest() -> bool:
            if self.instance.get_runs(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
                return False
            if not settings.analyst_path.exists():
                return False
            events, delivered = told(settings.analyst_path)
            return set(events) == set(delivered) and is_current(settings) and pages_follow(settings)

        self.wait_for(at_rest)
        events, delivered = told(settings.analyst_path)
        assert events and delivered == events, "each once"
        assert sorted(path.stem for path in settings.outbox_dir.iterdir()) == events
        rebuilt = run_et(settings.data_dir, "rebuild", "--check")
        assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr

    def ticks(self, sensor: str) -> list[InstigatorTick]:
        """What became of a sensor's ticks, the newest first."""
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            if state.instigator_name == sensor:
                return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id))
        return []


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A data folder with a plan and its reports; the daemon is not started yet."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(impatient((PROJECT / "dagster.yaml").read_text(), PATIENCE_S))
    environment = {"ET_DATA_DIR": str(tmp_path / "data"), "DAGSTER_HOME": str(home)}
    (tmp_path / "data" / "experiments").mkdir(parents=True)
    (tmp_path / "data" / "experiments" / "iota.yaml").write_text(
        PLAN.format(name="iota", split=10, ends_at="2026-10-15T00:00:00Z")
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        it = Service(Machine(tmp_path, "127.0.0.1", environment=environment), instance)
        it.bring_reports(1)
        try:
            yield it
        finally:
            it.end()


def test_a_daemon_killed_with_its_runs_takes_them_up_again(service: Service) -> None:
    service.start()
    lost = service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.STARTED))
    with service.held(lost, after="ingest"):
        service.kill(with_runs=True)
    assert service.status(lost) == dg.DagsterRunStatus.STARTED, "nobody was left to say that it died"
    service.start()
    service.wait_for(lambda: service.status(lost) == dg.DagsterRunStatus.FAILURE)
    again = service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.SUCCESS))
    assert service.instance.get_run_by_id(again).parent_run_id == lost, "it was not only a later tick"
    service.comes_to_rest()


@pytest.mark.faults
def test_a_run_outlives_its_daemon(service: Service) -> None:
    service.start()
    running = service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.STARTED))
    with service.held(running, after="ingest"):
        service.kill(with_runs=False)
        service.start()
        service.bring_reports(2)
        queued = service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.QUEUED))
    service.wait_for(lambda: service.status(queued) == dg.DagsterRunStatus.SUCCESS)
    assert service.status(running) == dg.DagsterRunStatus.SUCCESS
    service.comes_to_rest()


@pytest.mark.faults
def test_a_delivery_that_dies_between_recording_and_publishing_is_finished(service: Service) -> None:
    service.start()
    lost = service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.STARTED))
    with service.held(lost, after="deliveries"):
        assert told(service.settings.warehouse_path)[1], "what was sent is recorded"
        assert not service.settings.analyst_path.exists(), "and analysts do not see it yet"
        service.kill(with_runs=True)
    service.start()
    service.comes_to_rest()
    assert service.status(lost) == dg.DagsterRunStatus.FAILURE


def test_a_sensor_without_an_answer_fails_its_tick_and_the_next_one_asks_for_one_run(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step of Dagster's daemon that asks the sensors, twice, in this process; the code server is a real one."""
    monkeypatch.setattr("dagster._grpc.client.DEFAULT_SENSOR_GRPC_TIMEOUT", 1)
    server, port = service.start_code_server()
    service.wait_for(lambda: DagsterGrpcClient(host="127.0.0.1", port=port).health_check_query() == "SERVING")
    target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name="et_pipeline")
    with WorkspaceProcessContext(service.instance, target) as workspace:

        def ask_sensors() -> None:
            for error in execute_sensor_iteration(workspace, logging.getLogger(), None, None):
                assert error is None or TIMED_OUT.format(1) in error.to_string()

        os.kill(server.pid, signal.SIGSTOP)
        try:
            ask_sensors()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        (failed,) = service.ticks("new_inputs")
        assert failed.status == TickStatus.FAILURE
        assert TIMED_OUT.format(1) in failed.error.to_string()
        monkeypatch.undo()
        with freeze_time(datetime.now(UTC) + timedelta(minutes=2)):  # no sensor waits for its interval
            ask_sensors()
    asked, _ = service.ticks("new_inputs")
    assert asked.status == TickStatus.SUCCESS
    (run_id,) = asked.run_ids
    assert service.status(run_id) == dg.DagsterRunStatus.QUEUED
    assert service.instance.get_runs_count() == 1


@pytest.mark.faults
def test_a_sensor_that_does_not_answer_in_time_says_so_and_is_asked_again(service: Service) -> None:
    """The code server stops as if the disk below it hung."""
    service.machine.environment["DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS"] = str(SENSOR_TIMEOUT_S)
    server = service.start_apart()
    service.wait_for(lambda: service.run("tick", dg.DagsterRunStatus.SUCCESS))
    service.comes_to_rest()
    known = {tick.tick_id for tick in service.ticks("new_inputs")}
    os.kill(server.pid, signal.SIGSTOP)
    try:
        service.bring_reports(2)
        failed = service.wait_for(
            lambda: [
                tick
                for tick in service.ticks("new_inputs")
                if tick.status == TickStatus.FAILURE and tick.tick_id not in known
            ]
        )
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert TIMED_OUT.format(SENSOR_TIMEOUT_S) in failed[0].error.to_string()
    (asked,) = service.wait_for(
        lambda: [
            tick
            for tick in service.ticks("new_inputs")
            if tick.status == TickStatus.SUCCESS and tick.timestamp > failed[0].timestamp
        ]
    )
    (run_id,) = asked.run_ids
    service.wait_for(lambda: service.status(run_id) == dg.DagsterRunStatus.SUCCESS)
    service.comes_to_rest()
