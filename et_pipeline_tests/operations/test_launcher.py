"""When run monitoring regards a run as dead; `test_several_machines` tests a code server that does not know its run
any more."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import grpc
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from et_pipeline.defs.operations.launcher import CodeServerRunLauncher
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.operations.machines import free_port


def given_to(port: int) -> dg.DagsterRun:
    return dg.DagsterRun("tick", tags={GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})})


@pytest.mark.parametrize(("patience_s", "status"), [(60, WorkerStatus.RUNNING), (0, WorkerStatus.NOT_FOUND)])
def test_a_silent_server_is_waited_for_and_then_given_up(patience_s: int, status: WorkerStatus) -> None:
    launcher = CodeServerRunLauncher(patience_seconds=patience_s)
    run = given_to(free_port())
    assert launcher.check_run_worker_health(run).status == status
    assert launcher.check_run_worker_health(run).status == status


def test_a_server_that_does_not_tell_its_runs_keeps_them() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        health = CodeServerRunLauncher(patience_seconds=0).check_run_worker_health(given_to(port))
    finally:
        server.stop(None)
    assert health.status == WorkerStatus.RUNNING
    assert "does not tell" in str(health)


def test_a_run_inside_another_process_cannot_be_asked_after() -> None:
    health = CodeServerRunLauncher(patience_seconds=0).check_run_worker_health(dg.DagsterRun("tick"))
    assert health.status == WorkerStatus.RUNNING


def test_the_instance_of_one_machine_uses_it(tmp_path: Path) -> None:
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, CodeServerRunLauncher)
        assert instance.run_monitoring_max_runtime_seconds > 0
