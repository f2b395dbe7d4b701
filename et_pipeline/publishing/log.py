"""Log lines as JSON: `ts`, `level`, `bot_id`, `reason_code`, the event, and further facts.

Only this module decides where they are written: appended to the file `ET_LOG`, or to stderr. Each line is written by
    one write to a file opened for appending. So several processes can use the same file, and after a rotation a new one
    is made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from et_pipeline.contracts.messages import BOT_ID, isoformat
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def logger(settings: Settings) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes to the place of the settings. Its arguments must not contain secrets."""
    import structlog  # it imports rich and Pygments, so only if a line is written

    return structlog.wrap_logger(  # type: ignore[no-any-return]
        _Lines(settings.log_path),
        processors=[_house_fields, structlog.processors.JSONRenderer(ensure_ascii=False)],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        cache_logger_on_first_use=True,
    )


def _house_fields(_: Any, level: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        "ts": isoformat(datetime.now(UTC)),
        "level": level,
        "bot_id": BOT_ID,
        "reason_code": fields.pop("reason_code", None),
        **fields,
    }


class _Lines:
    """Writes whole lines to a file or to stderr."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def msg(self, line: str) -> None:
        if self._path is None:
            sys.stderr.write(line + "\n")
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    debug = info = warning = error = msg
