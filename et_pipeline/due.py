"""Is a tick due? This depends on a fingerprint of all inputs, on the next time at which a tick has something to do, and
on whether the published files still exist.

It is fast, since it only lists files and uses neither the warehouse nor Dagster. The sensor and `et tick` both use it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline import __version__
from et_pipeline.common.files import follows, write_atomically
from et_pipeline.common.sql import load
from et_pipeline.common.times import naive_utc
from et_pipeline.insight.published import missing_publications
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import duckdb


class LastTick(NamedTuple):
    """The note that the last complete tick wrote.

    Attributes:
        inputs: Fingerprint of the inputs for which it was started.
        wake_at: The time at which the next tick is due without new inputs (a UTC day, an `ends_at`, a stall, a report
            that waits for its time).
    """

    inputs: str
    wake_at: datetime


def fingerprint(settings: Settings) -> str:
    """A hash over the names, sizes and times of all input files and over the mode.

    It also contains whether a folder is missing or unreadable, so that an outage of the bus makes a tick due.
    """
    digest = hashlib.sha256(f"{__version__} {settings.mode}".encode())
    for root in (
        settings.report_bus_dir,
        settings.experiments_dir,
        settings.sign_offs_dir,
        settings.allowed_signers_path,
    ):
        for entry in _listing(root):
            digest.update(entry.encode("utf-8", "surrogateescape"))
            digest.update(b"\0")
    return digest.hexdigest()


def _listing(root: Path) -> Iterator[str]:
    try:
        status = root.stat()
        if root.is_file():
            yield f"{root.name} {status.st_size} {status.st_mtime_ns}"
            return
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        yield f"{root.name} {type(error).__name__}"
        return
    for entry in entries:
        if entry.name.endswith(".tmp"):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):  # following links to their own folder would never end
                yield from (f"{entry.name}/{line}" for line in _listing(Path(entry.path)))
            else:
                status = entry.stat()
                yield f"{entry.name} {status.st_size} {status.st_mtime_ns}"
        except OSError as error:
            yield f"{entry.name} {type(error).__name__}"


def read_last_tick(settings: Settings) -> LastTick | None:
    """The note of the last complete tick; None if there is none or it cannot be read, and then a tick is due."""
    try:
        document = json.loads(settings.last_tick_path.read_text(encoding="utf-8"))
        wake_at = datetime.fromisoformat(document["wake_at"])
        return LastTick(document["inputs"], wake_at)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_last_tick(settings: Settings, tick: LastTick) -> None:
    """Writes the note of a complete tick, atomically."""
    document = {"inputs": tick.inputs, "wake_at": tick.wake_at.isoformat()}
    write_atomically(settings.last_tick_path, json.dumps(document).encode())


def next_wake(connection: duckdb.DuckDBPyConnection, settings: Settings) -> datetime:
    """The next time at which a tick is due without new inputs, see the query `wake`."""
    now = naive_utc(settings.now())
    row = connection.execute(
        load(__package__, "wake"),
        {
            "now": now,
            "stall_after_us": settings.stall_after_us,
            "max_clock_skew_us": settings.max_clock_skew_us,
        },
    ).fetchone()
    assert row is not None, "midnight always comes"
    moment: datetime = row[0]
    return moment.replace(tzinfo=UTC)


def metrics_follow(settings: Settings) -> bool:
    """Whether the house metrics were written after the last complete tick."""
    return follows(settings.metrics_path, settings.last_tick_path)


def due(settings: Settings, inputs: str, last: LastTick | None) -> bool:
    """Whether a tick has anything to do."""
    return (
        last is None
        or last.inputs != inputs
        or settings.now() >= last.wake_at
        or bool(missing_publications(settings))
    )
