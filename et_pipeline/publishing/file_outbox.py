"""The built-in destination, if no real one is connected: each message becomes a file under `outbox/`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from et_pipeline.common.files import write_atomically
from et_pipeline.publishing.destinations import Message, RefusedError, Send, UnavailableError

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


class FileOutbox:
    """Writes messages as `<event_id>.json`. An existing file is the same message, so it is not written again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def open(self) -> Iterator[Send]:
        """Needs no connection; the folder is created with the first message."""
        yield self._send

    def _send(self, message: Message) -> str:
        if not _SAFE_NAME.fullmatch(message.event_id):
            raise RefusedError(f"event id {message.event_id!r} cannot be a file name")
        path = self._folder / f"{message.event_id}.json"
        try:
            if path.exists():
                return f"{path.name} was there already"
            write_atomically(path, message.body + b"\n")
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
        return f"written to {path.name}"
