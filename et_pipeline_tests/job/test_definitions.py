"""Definitions load with Dagster's own tools, and loading them changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg

from et_pipeline.definitions import defs
from et_pipeline_tests.conftest import PROJECT

LOAD = """
import sys

def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in "wax":
        sys.exit(f"loading opens {arguments[0]} for writing")
    if event in ("os.mkdir", "socket.connect", "subprocess.Popen"):
        sys.exit(f"loading does {event} {arguments}")

sys.dont_write_bytecode = True
import dagster
sys.addaudithook(watch)
from et_pipeline.definitions import defs
heavy = {"duckdb", "polars", "scipy", "pandera", "matplotlib"} & set(sys.modules)
sys.exit(f"loading imports {heavy}" if heavy else 0)
"""


def environment(folder: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ET_")}
    return {**clean, "ET_DATA_DIR": str(folder / "nowhere")}


def test_dagster_finds_them_through_the_workspace(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=PROJECT,
        env={**environment(tmp_path), "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "et_pipeline" in done.stdout + done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_loading_reads_no_data_and_imports_nothing_heavy(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        cwd=PROJECT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "nowhere").exists()


def test_they_are_loadable_and_every_sensor_and_schedule_is_on():
    dg.Definitions.validate_loadable(defs)
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {"tick", "publish", "collect"}
    sensors = {item.name: item.default_status for item in repository.sensor_defs}
    assert sensors and set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}, sensors
    schedules = {item.name: item.default_status for item in repository.schedule_defs}
    assert schedules and set(schedules.values()) == {dg.DefaultScheduleStatus.RUNNING}, schedules


def test_every_step_of_the_tick_waits_for_the_warehouse_pool():
    steps = {node.name: node.definition.pool for node in defs.resolve_job_def("tick").graph.nodes}
    assert len(steps) >= 9
    assert set(steps.values()) == {"warehouse"}, steps


def test_blocking_checks_guard_what_would_mislead():
    graph = defs.resolve_asset_graph()
    blocking = {key.name for key in graph.asset_check_keys if graph.get(key).blocking}
    assert blocking == {
        "every_line_accounted_for",
        "report_ids_unique",
        "reports_keep_the_schema",
        "one_pair_a_report",
        "every_report_placed",
        "cells_count_the_pairs",
        "path_ends_with_interval",
        "audit_chain_intact",
    }


def test_checks_stand_beside_what_they_guard():
    beside: dict[str, set[str]] = {}
    for key in defs.resolve_asset_graph().asset_check_keys:
        beside.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert beside == {
        "snapshots": {
            "clocks_agree",
            "every_line_accounted_for",
            "snapshots_readable",
            "snapshots_unchanged",
        },
        "reports": {"report_ids_unique", "reports_keep_the_schema"},
        "quarantine": {"little_in_quarantine"},
        "experiments": {"plans_valid", "plan_frozen"},
        "pairs": {"one_pair_a_report"},
        "unmatched": {"match_rate", "every_report_placed"},
        "cells": {"cells_count_the_pairs"},
        "intervals": {"path_ends_with_interval"},
        "diagnostics": {"time_block_long_enough", "values_present"},
        "replay_fidelity": {"replay_is_true"},
        "sample_ratio": {"sample_ratio_as_planned"},
        "calibration": {"error_as_promised"},
        "verdicts": {"announced_verdict_follows", "not_stalled"},
        "audit_log": {"audit_chain_intact"},
        "analyst_database": {"published_copy_is_fresh"},
        "review_pages": {"every_experiment_works"},
    }
