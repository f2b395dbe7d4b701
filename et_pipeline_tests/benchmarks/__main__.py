"""`make bench`: every benchmark, one table; each row a ratio against its baseline in the same run."""

from __future__ import annotations

import importlib
import platform
import sys
import tempfile
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import table

MODULES = (
    "start",
    "idle",
    "arrival",
    "experiments",
    "pages",
    "intervals",
    "ingest",
    "pairing",
    "tick",
    "queries",
    "scale",
)


def main(names: list[str]) -> None:
    """Runs the named benchmarks, or all of them."""
    print(f"{platform.machine()}, Python {platform.python_version()}")
    rows = []
    for name in names or MODULES:
        module = importlib.import_module(f"et_pipeline_tests.benchmarks.{name}")
        with tempfile.TemporaryDirectory(prefix="et-bench-") as folder:
            for row in module.rows(Path(folder)):
                print(f"{row.what}: {row.ratio:.2f} times {row.baseline}", file=sys.stderr)
                rows.append(row)
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
