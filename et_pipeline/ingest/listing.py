"""Lists the snapshots in the bus. It imports no large library, so that listing is fast."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from et_pipeline.common.untrusted import leads_out, shown

SUFFIXES = (".ndjson", ".ndjson.gz", ".ndjson.zst", ".parquet")

_LIKE_A_SNAPSHOT = re.compile(r"\.(nd|l)?jsonl?\b|\.parquet\b|\.pq\b", re.IGNORECASE)
UNREAD = f"it is not read: a snapshot's name ends with one of {', '.join(SUFFIXES)}, in small letters"

Stamp = tuple[int, int]
"""Size in bytes and time of modification in nanoseconds."""


class SnapshotFile(NamedTuple):
    """A snapshot file in the bus.

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
        """Size and time of modification; if they differ, the file was changed."""
        return self.size, self.mtime_ns


class Listing(NamedTuple):
    """The content of the bus.

    Attributes:
        files: Visible snapshots, sorted by path.
        errors: Folders that could not be listed and files that may not be read, with the reason; the bus
            folder itself is `""`.
    """

    files: list[SnapshotFile]
    errors: dict[str, str]


def list_snapshots(folder: Path) -> Listing:
    """Lists every snapshot below a folder.

    Files whose name begins with a dot or does not end with one of `SUFFIXES` (for example `*.tmp`, which is still being
    written) are not snapshots, nor is anything that is not a regular file. Files that look like a snapshot to a
    person (`a.jsonl`, `b.NDJSON`) are listed in `errors`. A link to a file of the bus is a snapshot; a link that leads
    out of the bus is listed in `errors`. Links to folders are not followed.
    """
    errors: dict[str, str] = {}
    files = [
        SnapshotFile(name, status.st_size, status.st_mtime_ns)
        for name, entry, status in _walk(folder, "", errors)
        if not _leads_out(name, entry, folder, errors)
    ]
    return Listing(sorted(files), errors)


def _leads_out(name: str, entry: os.DirEntry[str], bus: Path, errors: dict[str, str]) -> bool:
    out = entry.is_symlink() and leads_out(entry.path, bus)
    if out:
        errors[name] = "it is a link to a file outside the report bus; put the file itself there"
    return out


_Found = tuple[str, os.DirEntry[str], os.stat_result]


def _walk(folder: Path | str, prefix: str, errors: dict[str, str]) -> Iterator[_Found]:
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
                elif looks_like_a_snapshot(entry.name) and entry.is_file():
                    errors[shown(name)] = UNREAD
    except OSError as error:
        errors[prefix.removesuffix("/")] = f"the folder cannot be listed: {error.strerror}"


def _stamped(entry: os.DirEntry[str], name: str, errors: dict[str, str]) -> Iterator[_Found]:
    try:
        name.encode()
    except UnicodeEncodeError:
        errors[os.fsencode(name).decode("utf-8", "backslashreplace")] = "the name is not UTF-8"
        return
    try:
        status = entry.stat()
    except FileNotFoundError:
        return  # the file was removed before it could be examined
    yield name, entry, status


def looks_like_a_snapshot(name: str) -> bool:
    """Whether a file that is not read looks like a snapshot to a person, for instance `a.jsonl`, `b.NDJSON` or
    `c.pq`."""
    return bool(_LIKE_A_SNAPSHOT.search(name)) and not name.endswith((*SUFFIXES, ".tmp"))


def pending(files: list[SnapshotFile], known: Mapping[str, Stamp]) -> list[SnapshotFile]:
    """The files whose stamp differs from the known one."""
    return [file for file in files if known.get(file.path) != file.stamp]
