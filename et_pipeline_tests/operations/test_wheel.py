"""The wheel is the whole program: it contains every file and runs without a checkout.

`make faults` installs it as docs/production.md describes, with each supported version of Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from et_pipeline_tests.conftest import PROJECT

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout. Built from a copy: what an earlier build left would hide a lost file."""
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
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel, unpacked."""
    zipfile.ZipFile(wheel).extractall(wheel.parent / "installed")
    return wheel.parent / "installed"


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


def output(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """What a command prints in a folder, without the settings of this shell."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ET_", "DAGSTER_", "PYTHONPATH", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_runs_where_there_is_no_checkout(installed: Path, tmp_path: Path) -> None:
    run = f"import runpy, et_pipeline; assert et_pipeline.__file__.startswith({str(installed)!r}); "
    run += "runpy.run_module('et_pipeline', run_name='__main__', alter_sys=True)"
    works_in_an_empty_folder([sys.executable, "-c", run], tmp_path, PYTHONPATH=str(installed))


def works_in_an_empty_folder(command: Sequence[str | Path], tmp_path: Path, **environment: str) -> None:
    """A whole `et demo` and what it leaves; `command` starts `et`."""

    def et(*arguments: str) -> str:
        return output([*command, *arguments], tmp_path, **environment)

    found = json.loads(et("demo", "--json"))
    assert {row["experiment_id"]: row["verdict"] for row in found["experiments"]}[
        "line-shop-v4"
    ] == "variant_better"
    # One sample's backtester flatters.
    assert [check.partition(":")[0] for check in found["failed_checks"]] == ["replay_fidelity.replay_is_true"]
    again = output([*command, "tick", "--json"], tmp_path, ET_MODE="limited_live", **environment)
    assert json.loads(again)["due"] is False, "in the mode that the demo sets for its sample in limited live"
    assert "Usage" in et("ui", "--help")
    made = {path.relative_to(tmp_path / "data").parts[0] for path in (tmp_path / "data").iterdir()}
    assert {"experiments", "report_bus", "warehouse", "published", "outbox", "dagster"} <= made
    assert (tmp_path / "data" / "published" / "pages" / "line-shop-v4.html").stat().st_size > 50_000


def interpreters(version: str) -> Iterator[Path]:
    """The Pythons of a version on this machine: on the path, or where pyenv keeps them."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python{version}")]
    for found in filter(None, candidates):
        can = [found, "-c", "import ensurepip, venv"]
        if subprocess.run(can, capture_output=True, check=False).returncode == 0:
            yield Path(found)


@pytest.mark.faults
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_it_installs_into_an_empty_environment(wheel: Path, tmp_path: Path, version: str) -> None:
    python = next(interpreters(version), None)
    if python is None:
        pytest.skip(f"there is no Python {version} with venv on this machine")
    environment, folder = tmp_path / "environment", tmp_path / "empty"
    folder.mkdir()
    output([python, "-m", "venv", environment], tmp_path)
    pip = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    asked = [*pip, "download", "--quiet", "--no-deps", "--dest", tmp_path / "asked", "typer"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("the package index cannot be reached")
    pins = ("--constraint", PROJECT / "constraints.txt")
    output([*pip, "install", "--quiet", *pins, wheel], tmp_path)
    output([*pip, "check"], tmp_path)
    works_in_an_empty_folder([environment / "bin" / "et"], folder)
