"""The real daemon and web server, as `et ui` starts them: a snapshot in the bus leads to messages in the outbox."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from et_pipeline.generator import write_snapshots
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, parse_plan, scenario
from et_pipeline_tests.waiting import wait_for

RUNS = "{ runsOrError(limit: 20) { ... on Runs { results { jobName status runId tags { key value } } } } }"


@pytest.fixture
def ui(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A data folder with one plan, and the address of the UI that watches it."""
    (tmp_path / "report_bus").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "iota.yaml").write_text(
        PLAN.format(name="iota", split=10, ends_at="2026-10-15T00:00:00Z")
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "ui.log").open("wb")
    environment = {**os.environ, "ET_DATA_DIR": str(tmp_path), "DAGSTER_HOME": str(tmp_path / "dagster")}
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "ui", "--port", str(port)],
        cwd=PROJECT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield tmp_path, f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


@pytest.mark.xdist_group("daemon")
def test_a_snapshot_in_the_bus_leads_to_a_run_and_messages(ui: tuple[Path, str]) -> None:
    folder, address = ui

    def tail() -> str:
        return f"the log ends with:\n{(folder / 'ui.log').read_text()[-3000:]}"

    def runs() -> list[dict[str, object]]:
        try:
            answer = requests.post(f"{address}/graphql", json={"query": RUNS}, timeout=10)
        except requests.RequestException:
            return []
        return answer.json()["data"]["runsOrError"]["results"] if answer.ok else []

    def finished(job: str) -> list[dict[str, object]]:
        return [run for run in runs() if run["jobName"] == job and run["status"] == "SUCCESS"]

    wait_for(lambda: finished("tick"), 90, tail, pause=1)
    plan = parse_plan((folder / "experiments" / "iota.yaml").read_bytes(), "iota.yaml")
    before = len(finished("tick"))
    write_snapshots([scenario(plan, uplift={"edge_bps": 8.0})], folder / "report_bus", seed=3)
    wait_for(lambda: len(finished("tick")) > before, 90, tail, pause=1)
    wait_for(
        lambda: any("EXPERIMENT_RESULT" in path.read_text() for path in folder.glob("outbox/*.json")),
        90,
        tail,
        pause=1,
    )
    assert not [run for run in runs() if run["status"] == "FAILURE"]
    assert (folder / "published" / "experiments.duckdb").exists()
