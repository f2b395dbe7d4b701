"""Who may read what is written, whatever the umask of the process that happens to write it.

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


def keep_others_out() -> None:
    """Makes the process's umask at least as strict as `OTHERS`; its children inherit it."""
    os.umask(os.umask(OTHERS) | OTHERS)


def public_folder(path: Path) -> None:
    """Makes a folder, where it is missing, that everybody may list."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(PUBLIC_FOLDER)
