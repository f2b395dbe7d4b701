"""The analyst database: an exact copy of the warehouse, swapped in atomically after each tick.

Readers never meet a lock: they open a file no one writes to, and keep it until they reopen. The copy before
the present one is kept beside it as a base, so that the next copy writes only what has changed since.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from et_pipeline.common.files import public_folder, sync_directory
from et_pipeline.insight.blocks import copy_difference, copy_whole, same
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import checkpointed, locked

READ_ONLY = 0o444
"""A copy opened for writing by mistake would lock other readers out."""


class Publication(NamedTuple):
    """What publishing did.

    Attributes:
        path: The analyst database.
        replaced: Whether there was anything new.
        size: Its size in bytes.
        written: Bytes written for it.
        current: Whether the database that lies there now holds what the warehouse holds.
    """

    path: Path
    replaced: bool
    size: int
    written: int
    current: bool


def publish_analyst_database(settings: Settings) -> Publication:
    """Replaces the analyst database by the warehouse as it is now.

    The warehouse must not be open in this process: copying its file would drop the connection's lock.
    A crash at any point leaves the old database or the new one. After a crash just before the swap, the
    spare is the published file itself and is left alone.

    Args:
        settings: Where warehouse and published files lie.

    Returns:
        What was written; nothing where the published copy is the same already.

    Raises:
        WarehouseError: The warehouse is held by another process, or did not write its log into its file.
    """
    target = settings.analyst_path
    public_folder(target.parent)
    spare, following = _spare(target), target.with_name(f".{target.stem}.next.duckdb")
    with locked(settings) as source:
        block_size = checkpointed(settings, source)
        size = source.stat().st_size
        if target.exists() and same(source, target, block_size):
            return Publication(target, False, size, 0, True)
        following.unlink(missing_ok=True)
        if _usable(spare, target):
            spare.replace(following)
            following.chmod(0o600)
            written = copy_difference(source, following, block_size)
        else:
            written = copy_whole(source, following)
        following.chmod(READ_ONLY)
        spare.unlink(missing_ok=True)
        if target.exists():
            spare.hardlink_to(target)
        target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
        following.replace(target)
        sync_directory(target.parent)
        return Publication(target, True, size, written, same(source, target, block_size))


def holds(settings: Settings, source: Path, block_size: int) -> bool:
    """Whether the published copy holds what a warehouse holds that is `locked` and not open."""
    return settings.analyst_path.exists() and same(source, settings.analyst_path, block_size)


def _spare(target: Path) -> Path:
    return target.with_name(f".{target.stem}.spare.duckdb")


def _usable(spare: Path, target: Path) -> bool:
    return spare.exists() and not (target.exists() and spare.samefile(target)) and _free(spare)


def _free(path: Path) -> bool:
    """Whether no reader holds a file open any more (readers of DuckDB hold a shared lock on it).

    On Linux the lock is asked for as an open-file one, which also sees readers in this very process.
    """
    import fcntl

    path.chmod(0o600)
    with path.open("r+b") as file:
        try:
            if sys.platform == "linux":
                fcntl.fcntl(
                    file, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                )
            else:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
