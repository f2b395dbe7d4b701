"""Files: written whole or not at all, also after a power cut; who may read them; which of two is newer.

What the pipeline works with (warehouse, outbox, logs, Dagster's runs) is for its own user and group: reports
and figures of a desk are nobody else's business, and nobody else may change them. What is published is there
to be read, so every user of the machine may; the folder above it can still keep them out.
"""

from __future__ import annotations

import os
from pathlib import Path

OTHERS = 0o027
"""What the umask takes away at least: writing from the group, everything from others."""
PUBLIC_FILE = 0o644
PUBLIC_FOLDER = 0o755


def write_atomically(path: Path, data: bytes, *, public: bool = False) -> None:
    """Writes a file so that its final name never shows less than all of it.

    The bytes go to `<name>.tmp` beside it and are synced before the rename; the folder is synced after it.
    A process killed in between leaves at most the temporary file, which the next attempt overwrites.

    Args:
        path: Its final name.
        data: What it holds.
        public: Whether every user of the machine may read it; the umask decides otherwise.

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


def keep_others_out() -> None:
    """Makes the process's umask at least as strict as `OTHERS`; its children inherit it."""
    os.umask(os.umask(OTHERS) | OTHERS)


def public_folder(path: Path) -> None:
    """Makes a folder, where it is missing, that everybody may list."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(PUBLIC_FOLDER)


def follows(made: Path, source: Path) -> bool:
    """Whether a file was made after another was last changed."""
    return made.exists() and made.stat().st_mtime_ns >= source.stat().st_mtime_ns
