"""Which snapshots lie in the bus. Standard library only: a listing is cheap."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".ndjson", ".ndjson.gz", ".ndjson.zst", ".parquet")

Stamp = tuple[int, int]
"""Size in bytes and time of modification in nanoseconds."""


class SnapshotFile(NamedTuple):
    """A snapshot as it lies in the bus.

    Attributes:
        path: Path below the bus folder, with `/`.
        size: Bytes.
        mtime_ns: Time of modification in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int

    @property
    def stamp(self) -> Stamp:
        """What tells that a file is another one."""
        return self.size, self.mtime_ns


class Listing(NamedTuple):
    """What lies in the bus.

    Attributes:
        files: Visible snapshots, sorted by path.
        errors: Folders that could not be listed, with the reason; the bus folder itself is `""`.
    """

    files: list[SnapshotFile]
    errors: dict[str, str]


def list_snapshots(folder: Path) -> Listing:
    """Lists every snapshot below a folder.

    Names that begin with a dot or end otherwise than with `SUFFIXES` (for example `*.tmp`, still being
    written) are no snapshots; neither is anything that is no regular file.
    """
    errors: dict[str, str] = {}
    files = [SnapshotFile(*found) for found in _walk(folder, "", errors)]
    return Listing(sorted(files), errors)


def _walk(folder: Path | str, prefix: str, errors: dict[str, str]) -> Iterator[tuple[str, int, int]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path, f"{name}/", errors)
                elif entry.name.endswith(SUFFIXES) and entry.is_file():
                    yield from _stamped(entry, name, errors)
    except OSError as error:
        errors[prefix.removesuffix("/")] = f"the folder cannot be listed: {error.strerror}"


def _stamped(entry: os.DirEntry[str], name: str, errors: dict[str, str]) -> Iterator[tuple[str, int, int]]:
    try:
        name.encode()
    except UnicodeEncodeError:
        errors[os.fsencode(name).decode("utf-8", "backslashreplace")] = "the name is not UTF-8"
        return
    try:
        status = entry.stat()
    except FileNotFoundError:
        return  # gone again before anything was known of it
    yield name, status.st_size, status.st_mtime_ns


def pending(files: list[SnapshotFile], known: Mapping[str, Stamp]) -> list[SnapshotFile]:
    """The files whose stamp is not the known one."""
    return [file for file in files if known.get(file.path) != file.stamp]
