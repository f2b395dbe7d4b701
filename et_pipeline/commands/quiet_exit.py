"""Ends the program without messages of libraries and without delay, while the interpreter unloads its modules."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def quiet_exit() -> None:
    """Closes stderr when the program has ended, before the interpreter unloads its modules.

    If polars has read from DuckDB 2.0, the client prints pages of "nanobind: leaked" at that time, which do not help
    anybody. All messages of the program itself were printed before. The interpreter also runs its garbage collector
    three times over all objects, which takes half as long as `import dagster`, although the process ends anyway;
    `gc.freeze` excludes all objects from this.
    """
    atexit.register(gc.freeze)
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
