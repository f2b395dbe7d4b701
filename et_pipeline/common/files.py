"""Files: they are written completely or not at all, even at a power cut; who may read them; which of two is newer.

Only the pipeline's own user and group may read the files that it works with (warehouse, outbox, logs, Dagster's runs),
since they hold reports and figures of a trading team, and only its user may change them. Every user of the machine may
read what is published; the permissions of the folder above can still prevent that.
"""

from __future__ import annotations

import os
from pathlib import Path

OTHERS = 0o027
"""The umask removes at least these permissions: writing for the group, everything for others."""
PUBLIC_FILE = 0o644
PUBLIC_FOLDER = 0o755


def write_atomically(path: Path, data: bytes, *, public: bool = False) -> None:
    """Writes a file in such a way that under its final name there is always a complete file.

    The bytes are written to `<name>.tmp` beside it and synced, then the file is renamed and its folder is synced.
    A process that is killed in between leaves at most the temporary file, which the next attempt overwrites.

    Args:
        path: Its final name.
        data: Its content.
        public: Whether every user of the machine may read it; if not, the umask decides.

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
    """Makes the names in a folder durable: without this, a power cut may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_others_out() -> None:
    """Makes the process's umask at least as strict as `OTHERS`; its children inherit it."""
    os.umask(os.umask(OTHERS) | OTHERS)


def public_folder(path: Path) -> None:
    """Makes a folder that every user may list, unless it exists."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(PUBLIC_FOLDER)


def follows(made: Path, source: Path) -> bool:
    """Whether a file was made after another was last changed."""
    return made.exists() and made.stat().st_mtime_ns >= source.stat().st_mtime_ns
