"""The analyst database: an exact copy of the warehouse, which replaces the earlier copy atomically after each tick.

Readers never meet a lock: they open a file to which nobody writes, and keep it until they open it again. The previous
copy is kept beside the present one. The next copy is made from it, so that only what has changed since is written.
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
"""Copies are read-only, since a reader that opened one for writing by mistake would lock out the others."""


class Publication(NamedTuple):
    """The result of publishing.

    Attributes:
        path: The analyst database.
        replaced: Whether the database was replaced, since something was new.
        size: Its size in bytes.
        written: Bytes that were written for it.
        current: Whether its content now is that of the warehouse.
    """

    path: Path
    replaced: bool
    size: int
    written: int
    current: bool


def publish_analyst_database(settings: Settings) -> Publication:
    """Replaces the analyst database by a copy of the present warehouse.

    The warehouse must not be open in this process, since copying its file would release the connection's lock.
    After a crash at any point, the analyst database is either the old or the new one. After a crash just before the
    exchange of files, the previous copy may be the published file itself; then it is not used.

    Args:
        settings: The places of warehouse and published files.

    Returns:
        What was written; nothing if the published copy has the same content already.

    Raises:
        WarehouseError: Another process has the warehouse open, or its write-ahead log was not written into its file.
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
    """Whether the published copy has the same content as a warehouse that is `locked` and not open."""
    return settings.analyst_path.exists() and same(source, settings.analyst_path, block_size)


def _spare(target: Path) -> Path:
    return target.with_name(f".{target.stem}.spare.duckdb")


def _usable(spare: Path, target: Path) -> bool:
    return spare.exists() and not (target.exists() and spare.samefile(target)) and _free(spare)


def _free(path: Path) -> bool:
    """Whether no reader has a file open any more (readers of DuckDB hold a shared lock on it).

    On Linux an open-file-description lock is requested, which also conflicts with readers in this process.
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
