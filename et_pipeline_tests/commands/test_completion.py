"""The shell completes commands and ids of experiments, and commands do not import what only other commands need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.conftest import run_et
from et_pipeline_tests.publishing.test_people import put_experiment


@pytest.mark.parametrize(("words", "completed"), [("et sign", "sign-off"), ("et notify te", "test")])
def test_commands_are_completed(tmp_path: Path, words: str, completed: str) -> None:
    done = run_et(
        tmp_path,
        _ET_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert done.stdout.split() == [completed]


def test_ids_of_experiments_are_completed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    complete = {"_ET_COMPLETE": "complete_bash", "COMP_WORDS": "et show exp", "COMP_CWORD": "2"}
    assert run_et(tmp_path, **complete).stdout.split() == []  # nothing published yet
    with open_warehouse(settings):
        pass
    put_experiment(settings, "exp-1", "olga")
    settings.published_dir.mkdir()
    settings.analyst_path.write_bytes(settings.warehouse_path.read_bytes())
    assert run_et(tmp_path, **complete).stdout.split() == ["exp-1"]


def test_the_command_line_loads_no_large_library_before_a_command_needs_it() -> None:
    large = ("dagster", "duckdb", "jinja2", "numpy", "polars", "requests", "scipy", "sqlalchemy")
    loaded = f"import sys, et_pipeline.cli; print(*[name for name in {large} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
