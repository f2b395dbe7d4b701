"""An end without noise and delay: nothing is said or looked for while the interpreter unloads its modules."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def quiet_exit() -> None:
    """Ends stderr when the program has ended, before the interpreter unloads its modules.

    Whenever polars has read from DuckDB 2.0, the client prints pages of "nanobind: leaked" there: nothing a
    person can act on. Everything the program itself has to say was said by then. The interpreter also looks three
    times for garbage among all that lives, which takes as long as half of `import dagster` and frees what ends with
    the process anyway; `gc.freeze` takes all of it out of its sight.
    """
    atexit.register(gc.freeze)
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
