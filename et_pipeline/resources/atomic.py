"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

from et_pipeline.resources.permissions import PUBLIC_FILE


def write_atomically(path: Path, data: bytes, *, public: bool = False) -> None:
    """Writes a file so that its final name never shows less than all of it.

    The bytes go to `<name>.tmp` beside it and are synced before the rename; the folder is synced after it.
    A process killed in between leaves at most the temporary file, which the next attempt overwrites.

    Args:
        path: Its final name.
        data: What it holds.
        public: Whether every user of the machine may read it; see `permissions`.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        if public:
            os.fchmod(file.fileno(), PUBLIC_FILE)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Makes the names in a folder durable: without it a rename may be undone by a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
