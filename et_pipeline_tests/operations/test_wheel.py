"""The wheel is the whole program: it holds every file and runs where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from et_pipeline_tests.conftest import PROJECT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked. Built from a copy: what an earlier build left would hide a lost file."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("et_pipeline", "data/experiments"):
        shutil.copytree(
            PROJECT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
    ]
    done = subprocess.run(
        [*build, "--wheel-dir", str(folder), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def package_files(folder: Path) -> set[str]:
    """Every file of the package that is no Python; `os.walk`, since the sample plans lie behind a link."""
    return {
        str(Path(parent, name).relative_to(folder))
        for parent, folders, names in os.walk(folder / "et_pipeline", followlinks=True)
        if "__pycache__" not in parent
        for name in names
        if not name.endswith(".py")
    }


def test_it_holds_every_file_that_is_no_python(installed: Path) -> None:
    wanted = package_files(PROJECT)
    assert {".sql", ".yaml", ".json", ".html", ".css"} <= {Path(name).suffix for name in wanted}
    assert package_files(installed) == wanted


def test_it_runs_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    def et(*arguments: str) -> str:
        run = f"import runpy, et_pipeline; assert et_pipeline.__file__.startswith({str(installed)!r}); "
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("ET_", "DAGSTER_"))
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                run + "runpy.run_module('et_pipeline', run_name='__main__', alter_sys=True)",
            ]
            + list(arguments),
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = json.loads(et("demo", "--json"))
    assert {row["experiment_id"]: row["verdict"] for row in found["experiments"]}[
        "line-shop-v4"
    ] == "variant_better"
    assert found["failed_checks"] == []
    assert json.loads(et("tick", "--json"))["due"] is False
    assert "Usage" in et("ui", "--help")
    made = {path.relative_to(tmp_path / "data").parts[0] for path in (tmp_path / "data").iterdir()}
    assert {"experiments", "report_bus", "warehouse", "published", "outbox", "dagster"} <= made
    assert (tmp_path / "data" / "published" / "pages" / "line-shop-v4.html").stat().st_size > 50_000
