"""Runs in progress: a tick lets the warehouse go between its steps, so its lock does not tell whether one is going on.

A run holds this lock together with all other runs; what must not work beside any of them asks for it alone.
It dies with its process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import WarehouseError


@contextmanager
def run_in_progress(settings: Settings) -> Iterator[None]:
    """Tells others that a run goes on; waits for whoever works alone.

    Where the folder cannot be written the run has no lock, and its first step says why it cannot go on.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_held(settings, fcntl.LOCK_SH))
        yield


@contextmanager
def no_run_in_progress(settings: Settings) -> Iterator[None]:
    """Lets no run begin.

    Raises:
        WarehouseError: One goes on.
    """
    try:
        with _held(settings, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError:
        raise WarehouseError(
            f"a run is in progress in {settings.data_dir}; stop the daemon, or wait for it to end"
        ) from None


@contextmanager
def _held(settings: Settings, how: int) -> Iterator[None]:
    path = settings.warehouse_path.with_name("runs.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, how)
        yield
