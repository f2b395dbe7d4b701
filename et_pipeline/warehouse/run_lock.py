"""A lock for runs: between its steps a tick closes the warehouse, so the warehouse's lock does not show that it runs.

All runs hold this lock as a shared lock. Anything that must not work beside a run needs it as an exclusive lock. A lock
ends with its process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import WarehouseError


@contextmanager
def run_in_progress(settings: Settings) -> Iterator[None]:
    """Holds the shared lock during a run; it waits for a holder of the exclusive lock.

    If the folder cannot be written, the run has no lock, and its first step raises an error that says why.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_held(settings, fcntl.LOCK_SH))
        yield


@contextmanager
def no_run_in_progress(settings: Settings) -> Iterator[None]:
    """Holds the exclusive lock, so that no run can begin.

    Raises:
        WarehouseError: A run is in progress.
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
