"""`make bench`: every benchmark, one table; each row a ratio against its baseline in the same run."""

from __future__ import annotations

import platform
import sys
from multiprocessing import get_context

from et_pipeline_tests.benchmarks.measure import rows_of, table

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
    # Each in a process of its own: the system counts the size of the process that starts a command as its peak memory.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for found in pool.imap(rows_of, names or MODULES):
            rows += found
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
