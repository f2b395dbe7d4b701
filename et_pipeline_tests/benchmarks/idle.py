"""The sample's ticks, run by the command line: one that finds nothing new, and one that computes everything again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import RUNTIME_PYTHON, Row, median, pair, processor, run

PLANS = Path(__file__).parents[2] / "data" / "experiments"
EMPTY_JOB = str(Path(__file__).with_name("empty_job.py"))


def rows(folder: Path) -> Iterator[Row]:
    """The two rows of the table."""
    shutil.copytree(PLANS, folder / "idle" / "experiments")
    environment = {"ET_DATA_DIR": str(folder / "idle")}
    et = [RUNTIME_PYTHON, "-m", "et_pipeline"]
    run([*et, "demo"], environment)
    ours, theirs = pair(
        [*et, "tick"], [RUNTIME_PYTHON, "-c", "import dagster"], runs=5, environment=environment
    )
    yield Row(
        "a tick that finds nothing new",
        median(ours),
        "python -c 'import dagster'",
        median(theirs),
        1.0,
        max(sample.peak_mib for sample in ours),
    )
    (folder / "empty").mkdir()
    (folder / "empty" / "dagster.yaml").touch()
    environment |= {"DAGSTER_HOME": str(folder / "empty")}
    forced, empty = pair(
        ["env", "-u", "DAGSTER_HOME", *et, "tick", "--force"],
        [RUNTIME_PYTHON, EMPTY_JOB],
        runs=5,
        environment=environment,
    )
    yield Row(
        "the sample tick (--force), processor time",
        processor(forced),
        "a Dagster job of 11 steps, 22 assets and 22 checks in which nothing is done",
        processor(empty),
        1.0,
        max(sample.peak_mib for sample in forced),
    )
