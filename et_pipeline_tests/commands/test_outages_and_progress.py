"""What a person who runs the pipeline sees: the progress of a tick, and the end of an outage."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from et_pipeline.commands.run_tick import STEPS, tick
from et_pipeline.definitions import defs
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import call_et, run_et

DEAD_PORT = "nats://127.0.0.1:9"


def test_one_attempt_against_a_dead_port_stalls_nobody_for_good(tmp_path: Path) -> None:
    assert call_et(tmp_path, "generate", str(tmp_path), "--opportunities", "300").returncode == 0
    assert call_et(tmp_path, "tick").returncode == 0
    failed = run_et(tmp_path, "bus", "snapshot", ET_NATS_URL=DEAD_PORT, ET_NATS_TIMEOUT="1")
    assert failed.returncode == 1
    note = tmp_path / "report_bus" / "nats" / "outage.txt"
    assert note.exists()
    assert call_et(tmp_path, "tick", "--force").returncode == 0
    (row,) = json.loads(call_et(tmp_path, "status", "--json").stdout)["experiments"]
    assert row["state"] != "stalled"
    ended = run_et(tmp_path, "bus", "forget")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Ended the outage that began at" in ended.stdout
    assert not note.exists()
    assert json.loads(call_et(tmp_path, "bus", "forget", "--json").stdout) == {"ended": None}


def test_progress_names_the_stage_that_runs_with_files_lines_and_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_et(tmp_path, "generate", str(tmp_path), "--opportunities", "2000", "--files", "3")
    monkeypatch.setenv("ET_DATA_DIR", str(tmp_path))
    said: list[str] = []
    tick(Settings.from_env(), say=said.append)
    order = [words for words in STEPS.values() if f"{words} …" in said]
    assert order == list(STEPS.values())
    assert [words for words in said if words.endswith(" …")] == [f"{words} …" for words in order]
    (first, *_) = [words for words in said if words.startswith("Reading the snapshots: ")]
    assert re.fullmatch(
        r"Reading the snapshots: \d of 3 files, [\d,]+ lines, [\d.]+ MB/s, 0 quarantined", first
    )


def test_every_step_of_a_tick_has_words() -> None:
    steps = {node.name for node in defs.resolve_job_def("tick").nodes}
    assert steps == set(STEPS)
