"""Analysts have the published database open during whole ticks, without any error on either side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from et_pipeline.generator import write_snapshots
from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.job.test_outages_and_sign_offs import add_plan, scenario

STATE = """
SELECT (SELECT count(*) FROM snapshots), (SELECT count(*) FROM reports), (SELECT count(*) FROM pairs),
       (SELECT sum(hash(control_report_id, edge_bps_uplift)) FROM pairs)::VARCHAR, (SELECT sum(n) FROM cells),
       (SELECT sum(n_pairs) FROM intervals), (SELECT count(*) FROM interval_path), (SELECT max(seq) FROM audit_log)
"""
"""What a tick changes, of many tables at once: a torn copy would mix an old figure with a new one."""
READER = """
import json, pathlib, sys, time, duckdb
path, state, stop, ready, keeps = sys.argv[1], sys.argv[2], *map(pathlib.Path, sys.argv[3:5]), sys.argv[5] == "keeps"
def opened():
    return duckdb.connect(path, read_only=True, config={"threads": 1})
connection = opened()
while True:
    last = stop.exists()
    if not keeps:
        connection.close()
        connection = opened()
    print(json.dumps(connection.execute(state).fetchone()))
    ready.touch()
    if last:
        break
    time.sleep(1)
"""
"""Asks again and again, of the file it opened once or opening it each time; once more when all ticks are done."""


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Any]:
    """Starts the readers, every second of which keeps its connection; they end by themselves once `stop` is there."""
    stop = tmp_path / "stop"
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path, count: int) -> list[subprocess.Popen[str]]:
        flags = [tmp_path / f"ready-{number}" for number in range(count)]
        for number, flag in enumerate(flags):
            keeps = "keeps" if number % 2 else "opens"
            command = [sys.executable, "-c", READER, str(path), STATE, str(stop), str(flag), keeps]
            out = (tmp_path / f"out-{number}").open("w")
            processes.append(
                subprocess.Popen(
                    command,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONWARNINGS": "error"},
                )
            )
            out.close()
        until = time.monotonic() + 120
        while not all(flag.exists() for flag in flags):
            assert time.monotonic() < until and all(process.poll() is None for process in processes)
            time.sleep(0.1)
        return processes

    yield start
    stop.touch()
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("count", "ticks"), [(6, 2), pytest.param(20, 3, marks=pytest.mark.faults)])
def test_readers_hold_the_database_while_ticks_run(
    world: World, readers: Any, tmp_path: Path, count: int, ticks: int
) -> None:
    plan = add_plan(world, "kappa")
    world.environment["ET_NOW"] = "2026-10-20T00:00:00Z"
    bus = world.settings.report_bus_dir

    def one_more_tick(number: int) -> list[Any]:
        write_snapshots([scenario(plan)], bus, seed=5, files=ticks + 1, only=[number])
        result = world.tick()
        assert result.success
        assert world.failed_checks(result) == set()
        return json.loads(json.dumps(world.rows(STATE)[0]))

    published = [one_more_tick(0)]
    processes = readers(world.settings.analyst_path, count)
    published += [one_more_tick(number) for number in range(1, ticks + 1)]
    (tmp_path / "stop").touch()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert errors == [""] * count
    assert [process.returncode for process in processes] == [0] * count
    assert len({json.dumps(state) for state in published}) == ticks + 1, "each tick changed what is published"
    answers = 0
    seen = set()
    for number in range(count):
        states = [json.loads(line) for line in (tmp_path / f"out-{number}").read_text().splitlines()]
        answers += len(states)
        steps = [published.index(state) for state, _ in groupby(states)]  # a torn state is none of them
        if number % 2:
            assert steps == [0], "who keeps the file keeps its answers"
        else:
            assert steps == sorted(steps) and (steps[0], steps[-1]) == (0, ticks)
            seen |= set(steps)
    assert answers > 3 * count
    assert seen == set(range(ticks + 1)), "every tick was seen by somebody"
