"""Fixtures that several stages share: a fresh data folder, and the sample run of `et demo`."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import hypothesis
import pytest
from filelock import FileLock

from et_pipeline import cli
from et_pipeline.commands.quiet_exit import quiet_exit
from et_pipeline.insight.publish import holds
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import checkpointed, locked
from et_pipeline_tests.migrated import put_warehouse

quiet_exit()
# The same examples on every machine, and no deadline: how long a case takes says nothing about it here.
hypothesis.settings.register_profile("everywhere", deadline=None, derandomize=True)
hypothesis.settings.load_profile("everywhere")

PROJECT = Path(__file__).parent.parent
SAMPLE_PLANS = PROJECT / "data" / "experiments"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the shell that started it."""
    for name in [name for name in os.environ if name.startswith("ET_") or name == "DAGSTER_HOME"]:
        monkeypatch.delenv(name)


@pytest.fixture
def new_settings(tmp_path: Path) -> Settings:
    """Settings of an empty data folder with the folders people make."""
    for folder in ("experiments", "report_bus"):
        (tmp_path / folder).mkdir()
    return Settings(data_dir=tmp_path)


@pytest.fixture
def settings(new_settings: Settings) -> Settings:
    """The same with a warehouse without rows, as the first tick makes it."""
    put_warehouse(new_settings)
    return new_settings


BARE = """
import runpy, sys
sys.modules.update(dict.fromkeys(["pyarrow", "pyspark", "sqlglot"]))
runpy.run_module("et_pipeline", run_name="__main__", alter_sys=True)
"""
"""Runs the command as if what only the extra `spark` brings were not installed."""


def run_et(
    data_dir: Path, *arguments: str, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the real `et` command on a data folder, without what a plain installation lacks.

    The deployment allows limited live, as `et demo` does for its samples.
    """
    return subprocess.run(
        [
            sys.executable,
            *(("-m", "et_pipeline") if "ET_ENGINE" in environment else ("-c", BARE)),
            *arguments,
        ],
        env=_environment(data_dir, environment),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def call_et(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the same command line in this process, which has imported its libraries already."""
    printed = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    umask = os.umask(0)
    os.umask(umask)
    with (
        patch.dict(os.environ, _environment(data_dir, environment), clear=True),
        patch.object(sys, "argv", ["et", *arguments]),
        contextlib.redirect_stdout(printed[0]),
        contextlib.redirect_stderr(printed[1]),
        warnings.catch_warnings(),
        pytest.raises(SystemExit) as end,
    ):
        try:
            cli.main()
        finally:
            os.umask(umask)
    out, err = (stream.buffer.getvalue().decode() for stream in printed)  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(["et", *arguments], int(end.value.code or 0), out, err)


def _environment(data_dir: Path, changes: dict[str, str]) -> dict[str, str]:
    """The environment of a command: without the settings of the shell that started the tests."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ET_") and name != "DAGSTER_HOME"
    }
    return {**clean, "ET_DATA_DIR": str(data_dir), "ET_MODE": "limited_live", **changes}


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder after one `et demo`, for tests that only look; the workers of xdist share the run."""
    base = tmp_path_factory.getbasetemp()
    first = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sample" / "data"
    with FileLock(first.parent.with_suffix(".lock")):
        if not first.exists():
            shutil.copytree(SAMPLE_PLANS, first.with_name("new") / "experiments")
            done = run_et(first.with_name("new"), "demo")
            assert done.returncode == 0, done.stderr
            first.with_name("new").rename(first)
    yield Path(shutil.copytree(first, tmp_path_factory.mktemp("sample") / "data"))


def is_current(settings: Settings) -> bool:
    """Whether the published copy holds what the warehouse holds."""
    with locked(settings) as warehouse:
        return holds(settings, warehouse, checkpointed(settings, warehouse))
