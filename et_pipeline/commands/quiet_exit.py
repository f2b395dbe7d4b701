"""An end without noise: DuckDB's client complains to stderr while the interpreter unloads its modules."""

from __future__ import annotations

import atexit
import os
import sys


def quiet_exit() -> None:
    """Ends stderr when the program has ended, before the interpreter unloads its modules.

    Whenever polars has read from DuckDB 2.0, the client prints pages of "nanobind: leaked" there: nothing a
    person can act on. Everything the program itself has to say was said by then.
    """
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
