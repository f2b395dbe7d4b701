"""A tick that finds nothing new, run by the command line, compared with importing Dagster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import RUNTIME_PYTHON, Row, median, pair, run

PLANS = Path(__file__).parents[2] / "data" / "experiments"


def rows(folder: Path) -> Iterator[Row]:
    """The one row of the table: the target is 1.5 times the import, and one second."""
    shutil.copytree(PLANS, folder / "idle" / "experiments")
    environment = {"ET_DATA_DIR": str(folder / "idle")}
    et = [RUNTIME_PYTHON, "-m", "et_pipeline"]
    run([*et, "demo"], environment)
    ours, theirs = pair(
        [*et, "tick"], [RUNTIME_PYTHON, "-c", "import dagster"], runs=5, environment=environment
    )
    target = (1.5 * median(theirs) + 1.0) / median(theirs)
    yield Row(
        "a tick that finds nothing new",
        median(ours),
        "python -c 'import dagster'",
        median(theirs),
        target,
        0.0,
    )
