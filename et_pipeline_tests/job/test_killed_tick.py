"""A tick killed in the middle of its run: the next one is not blocked, finishes the work, and says nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.generator import write_snapshots
from et_pipeline_tests.conftest import PROJECT, run_et
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, scenario

NOW = "2026-10-20T00:00:00Z"


def wait_for_warehouse(folder: Path, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until the run has committed something; by then later steps are still to come."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "it ended before it could be killed"
        if (folder / "warehouse" / "warehouse.duckdb").exists():
            return
        time.sleep(0.02)
    raise AssertionError("the run never opened the warehouse")


@pytest.mark.xdist_group("daemon")
def test_the_next_tick_finishes_what_a_killed_one_began(tmp_path: Path):
    for name in ("experiments", "report_bus"):
        (tmp_path / name).mkdir()
    text = PLAN.format(name="kappa", split=10, ends_at="2026-10-15T00:00:00Z")
    (tmp_path / "experiments" / "kappa.yaml").write_text(text, encoding="utf-8")
    plan = parse_plan(text.encode(), "kappa")
    assert isinstance(plan, Plan)
    write_snapshots([scenario(plan, uplift={"edge_bps": 8.0})], tmp_path / "report_bus", seed=3)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ET_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "tick"],
        cwd=PROJECT,
        env={**clean, "ET_DATA_DIR": str(tmp_path), "ET_NOW": NOW},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_warehouse(tmp_path, process, 60)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "published").exists(), "it was killed before the end"
    again = run_et(tmp_path, "tick", "--json", ET_NOW=NOW, ET_LOCK_TIMEOUT="5")
    assert again.returncode == 0, again.stderr
    with duckdb.connect(str(tmp_path / "published" / "experiments.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM pairs").fetchone() == (1_500,)
        events = connection.execute("SELECT coalesce(reason_code, kind) FROM events ORDER BY seq").fetchall()
    assert events == [("EXPERIMENT_STARTED",), ("EXPERIMENT_RESULT",)]
    assert len(list((tmp_path / "outbox").glob("*.json"))) == json.loads(again.stdout)["messages"] == 2
    rebuilt = run_et(tmp_path, "rebuild", "--check", ET_NOW=NOW)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
