"""`make demo` on a bare machine, installation included, compared with pip installing only the runtime dependencies.

Bare means: a new copy of the checkout, empty caches, and a path with Python, make and the programs of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import Row, Sample, median, processor, run

PROJECT = Path(__file__).parents[2]
RUNS = 2
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "data")


def rows(folder: Path) -> Iterator[Row]:
    """The one row of the table; none where the package index cannot be reached."""
    path = folder / "path"
    path.mkdir()
    (path / "python3").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps", "--dest"]
    if subprocess.run([*asked, str(folder / "asked"), "typer"], capture_output=True, check=False).returncode:
        print(
            "make demo on a bare machine: not measured, the package index cannot be reached", file=sys.stderr
        )
        return
    ours, theirs = zip(*(_one(folder / str(number), path) for number in range(RUNS)), strict=True)
    yield Row(
        "`make demo` on a bare machine, installation included",
        median(ours),
        "`pip install` of the runtime dependencies alone",
        median(theirs),
        1.0,
        max(sample.peak_mib for sample in ours),
        f"processor time {processor(ours):.1f} s against {processor(theirs):.1f} s",
    )


def _one(folder: Path, path: Path) -> tuple[Sample, Sample]:
    """Each side once, with empty caches of its own."""
    checkout = folder / "checkout"
    shutil.copytree(PROJECT, checkout, symlinks=True, ignore=NOT_COPIED)
    shutil.copytree(PROJECT / "data" / "experiments", checkout / "data" / "experiments")
    dependencies = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    environment = {"PATH": f"{path}{os.pathsep}{os.defpath}"}
    ours = run(["make", "-C", str(checkout), "demo"], environment | _caches(folder / "ours"))
    install = 'python3 -m venv "$0" && "$0/bin/python" -m pip install --quiet --constraint "$@"'
    theirs = run(
        ["sh", "-c", install, str(folder / "venv"), str(PROJECT / "constraints.txt"), *dependencies],
        environment | _caches(folder / "theirs"),
    )
    shutil.rmtree(folder)
    return ours, theirs


def _caches(folder: Path) -> dict[str, str]:
    return {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
