"""The deployment of docs/several-machines.md, with its own configuration files.

A real PostgreSQL, a warehouse machine with the code server and the runs, and a control machine with web server and
daemon. Nothing is shared but Postgres.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import dagster as dg
import duckdb
import pytest
import requests
import yaml

from et_pipeline.definitions import defs
from et_pipeline.generator import write_snapshots
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, parse_plan, scenario
from et_pipeline_tests.operations.machines import (
    PASSWORD,
    Machine,
    free_port,
    impatient,
    machines,
    postgres,
    postgres_binaries,
    stop,
)
from et_pipeline_tests.waiting import wait_for

T = TypeVar("T")
pytestmark = pytest.mark.xdist_group("daemon")
DOCS = PROJECT / "docs" / "several-machines"
LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""


@dataclass
class Deployment:
    """What runs, and Dagster's storage as a third party sees it."""

    warehouse: Machine
    control: Machine
    code_server: subprocess.Popen[bytes]
    address: str
    instance: dg.DagsterInstance

    def start_code_server(self) -> None:
        port = self.warehouse.environment["ET_CODE_PORT"]
        where = ("-h", self.warehouse.address, "-p", port)
        self.code_server = self.warehouse.start(
            "dagster", "api", "grpc", "-m", "et_pipeline.definitions", *where
        )

    def launch_from_control(self, job: str, tags: dict[str, str]) -> str:
        """What a person does in the UI; returns the run's id."""
        params = {
            "selector": {
                "repositoryLocationName": "et_pipeline",
                "repositoryName": "__repository__",
                "pipelineName": job,
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        asked = {"query": LAUNCH, "variables": {"params": params}}
        answer = requests.post(f"{self.address}/graphql", json=asked, timeout=30).json()
        assert "run" in answer["data"]["launchRun"], answer
        return str(answer["data"]["launchRun"]["run"]["runId"])

    def launch_from_warehouse(self, job: str, tags: dict[str, str]) -> subprocess.Popen[bytes]:
        """What a script does on the other machine."""
        return self.warehouse.start(
            *("dagster", "job", "launch", "-w", "workspace.yaml", "-l", "et_pipeline", "-j", job),
            *("--tags", json.dumps(tags)),
        )

    def status(self, run_id: str) -> dg.DagsterRunStatus | None:
        run = self.instance.get_run_by_id(run_id)
        return run.status if run else None

    def wait_for(self, what: Callable[[], T], seconds: float) -> T:
        return wait_for(
            what,
            seconds,
            lambda: f"warehouse: {self.warehouse.log()}\ncontrol: {self.control.log()}",
            pause=0.2,
        )


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("needs a PostgreSQL server; on Debian: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("machines")
    with (
        pytest.MonkeyPatch.context() as patch,
        machines(folder, ["warehouse", "control"]) as (here, (warehouse, control)),
        postgres(binaries, here) as port,
    ):
        shared = {
            "ET_POSTGRES_HOST": here,
            "ET_POSTGRES_PORT": str(port),
            "ET_POSTGRES_USER": "et",
            "ET_POSTGRES_PASSWORD": PASSWORD,
            "ET_CODE_HOST": warehouse.address,
            "ET_CODE_PORT": str(free_port()),
        }
        for machine in (warehouse, control):
            shutil.copy(DOCS / "workspace.yaml", machine.folder)
            (machine.folder / "dagster.yaml").write_text(impatient((DOCS / "dagster.yaml").read_text()))
            machine.environment.update(shared, DAGSTER_HOME=str(machine.folder))
        warehouse.environment["ET_DATA_DIR"] = str(warehouse.folder / "data")
        for name, value in shared.items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(control.folder)) as instance:
            assert instance.get_runs_count() == 0  # this makes the tables
            web_port = str(free_port())
            where = ("-h", control.address, "-p", web_port)
            address = f"http://{control.address}:{web_port}"
            web = control.start("dagster-webserver", "-w", "workspace.yaml", *where)
            daemon = control.start("dagster-daemon", "run", "-w", "workspace.yaml")
            it = Deployment(warehouse, control, web, address, instance)
            write_inputs(warehouse.folder / "data")
            it.start_code_server()
            try:
                yield it
            finally:
                for process in (web, daemon, it.code_server):
                    stop(process)


def write_inputs(data: Path) -> None:
    for name in ("report_bus", "experiments"):
        (data / name).mkdir(parents=True)
    text = PLAN.format(name="iota", split=10, ends_at="2026-10-15T00:00:00Z")
    (data / "experiments" / "iota.yaml").write_text(text)
    write_snapshots(
        [scenario(parse_plan(text.encode(), "iota.yaml"), uplift={"edge_bps": 8.0})],  # type: ignore[arg-type]
        data / "report_bus",
        seed=3,
    )


def pooled(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs that need the warehouse, in the order in which they started."""
    records = [
        record
        for record in instance.get_run_records()
        if record.start_time is not None and record.dagster_run.run_op_concurrency is not None
    ]
    return sorted(records, key=lambda record: record.start_time or 0.0)


@pytest.mark.faults
def test_runs_of_both_machines_take_turns(deployment: Deployment) -> None:
    it = deployment
    runs = {it.wait_for(lambda: web_answers(it), 60)}
    script = it.launch_from_warehouse("publish", {"from": "warehouse"})
    runs.add(it.launch_from_control("publish", {"from": "control"}))
    assert script.wait(60) == 0, it.warehouse.log()
    runs |= {run.run_id for run in it.instance.get_runs(dg.RunsFilter(tags={"from": "warehouse"}))}
    assert len(runs) == 3
    it.wait_for(lambda: all(it.status(run) == dg.DagsterRunStatus.SUCCESS for run in runs), 90)

    records = pooled(it.instance)
    for earlier, later in pairwise(records):
        assert earlier.end_time <= later.start_time, "two runs held the pool at once"
    with duckdb.connect(
        str(it.warehouse.folder / "data" / "published" / "experiments.duckdb"), read_only=True
    ) as published:
        assert published.execute("SELECT verdict FROM verdicts").fetchone() == ("variant_better",)
    assert not list(it.control.folder.rglob("*.duckdb")), "the control machine has no part in the data"


def web_answers(it: Deployment) -> str | None:
    """The first tick that the sensor asked for, once the web server knows the jobs."""
    try:
        requests.get(f"{it.address}/server_info", timeout=5)
    except requests.RequestException:
        return None
    ticks = it.instance.get_runs(dg.RunsFilter(job_name="tick"))
    return ticks[0].run_id if ticks else None


@pytest.mark.faults
def test_a_dead_machine_does_not_keep_the_pool(deployment: Deployment) -> None:
    it = deployment
    lost = it.launch_from_control("tick", {})
    waiting = it.launch_from_control("publish", {})
    it.wait_for(lambda: it.status(lost) == dg.DagsterRunStatus.STARTED, 60)
    stop(it.code_server)  # with its runs: the machine's power is off
    time.sleep(5)  # the queue is looked at every second
    assert it.status(lost) == dg.DagsterRunStatus.STARTED
    assert it.status(waiting) == dg.DagsterRunStatus.QUEUED, "the pool was given away"

    it.start_code_server()
    it.wait_for(lambda: it.status(lost) == dg.DagsterRunStatus.FAILURE, 60)
    it.wait_for(lambda: it.status(waiting) == dg.DagsterRunStatus.SUCCESS, 60)
    told = [entry.message for entry in it.instance.all_logs(lost)]
    assert any("was started again without it" in message for message in told), told


@pytest.mark.faults
def test_the_storage_is_postgres(deployment: Deployment) -> None:
    import psycopg2

    shared = deployment.control.environment
    with psycopg2.connect(
        host=shared["ET_POSTGRES_HOST"],
        port=shared["ET_POSTGRES_PORT"],
        user=shared["ET_POSTGRES_USER"],
        password=PASSWORD,
        dbname="dagster",
    ) as connection:
        connection.autocommit = True  # each look sees what was written since the last one
        cursor = connection.cursor()
        until = time.monotonic() + 120  # the daemon's own first tick fills them all
        for table in ("runs", "event_logs", "job_ticks", "concurrency_limits"):
            while cursor.execute(f"SELECT count(*) FROM {table}") or cursor.fetchone()[0] == 0:
                assert time.monotonic() < until, f"{table} stays empty"
                time.sleep(0.5)


def test_machines_with_these_files_share_runs_in_postgres_and_a_pool_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a daemon, which takes minutes to show that runs take turns: `make faults`."""
    import psycopg2

    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("needs a PostgreSQL server; on Debian: apt-get install postgresql")
    here = "127.0.0.1"
    with postgres(binaries, here) as port:
        access = {"HOST": here, "PORT": str(port), "USER": "et", "PASSWORD": PASSWORD}
        for name, value in access.items():
            monkeypatch.setenv(f"ET_POSTGRES_{name}", value)
        for machine in ("warehouse", "control"):
            (tmp_path / machine).mkdir()
            shutil.copy(DOCS / "dagster.yaml", tmp_path / machine)
        with (
            dg.DagsterInstance.from_config(str(tmp_path / "warehouse")) as warehouse,
            dg.DagsterInstance.from_config(str(tmp_path / "control")) as control,
        ):
            run = warehouse.create_run_for_job(defs.resolve_job_def("tick"))
            warehouse.report_run_canceled(run)
            found = control.get_run_by_id(run.run_id)
            assert found is not None and found.status == dg.DagsterRunStatus.CANCELED
            assert found.run_op_concurrency is not None, "a tick needs the pool"
            for instance in (warehouse, control):
                pools = instance.get_concurrency_config().pool_config
                assert (pools.pool_granularity.value, pools.default_pool_limit) == ("run", 1)
        arguments = {name.lower(): value for name, value in access.items()}
        connection = psycopg2.connect(dbname="dagster", **arguments)
        cursor = connection.cursor()
        for table in ("runs", "event_logs"):
            cursor.execute(f"SELECT count(*) FROM {table} WHERE run_id = %s", [run.run_id])
            assert cursor.fetchone()[0] > 0
        connection.close()


def test_the_limits_are_those_of_one_machine() -> None:
    several, one = (
        yaml.safe_load(path.read_text()) for path in (DOCS / "dagster.yaml", PROJECT / "dagster.yaml")
    )
    del one[
        "event_log_storage"
    ]  # several machines keep it in PostgreSQL, with the rest of what Dagster stores
    for limits in (several, one):
        limits["run_coordinator"]["config"].pop("max_user_code_failure_retries", None)
        limits["run_coordinator"]["config"].pop("user_code_failure_retry_delay", None)
    assert {name: several[name] for name in one} == one
