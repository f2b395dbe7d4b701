"""Outages of the sources of reports: each is one row in `outages`, opened when it is seen and closed when it is
over."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.times import format_duration, naive_utc

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings

REPORT_BUS = "report_bus"
NATS = "nats"
"""Sources of reports by their names in `outages`: the folder of snapshots, and the bus that is read into it."""


class Outage(NamedTuple):
    """One outage that is not over.

    Attributes:
        source: The source that cannot be read, for example `report_bus`.
        since: Its beginning (naive UTC).
        reason: The reason, for people.
    """

    source: str
    since: datetime
    reason: str


def record_outage(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    reason: str,
    now: datetime,
    since: datetime | None = None,
) -> bool:
    """Opens an outage, unless this source has an open one.

    Args:
        connection: The warehouse.
        source: The source that cannot be read.
        reason: The reason, for people.
        now: When the outage was seen.
        since: When it began, if that is known.

    Returns:
        Whether a new outage was opened.
    """
    if any(outage.source == source for outage in open_outages(connection)):
        return False
    connection.execute(
        "INSERT INTO outages (source, since, until, reason) VALUES (?, ?, NULL, ?)",
        [source, naive_utc(since or now), reason],
    )
    return True


def end_outage(connection: duckdb.DuckDBPyConnection, source: str, now: datetime) -> bool:
    """Closes the open outage of a source.

    Returns:
        Whether there was one.
    """
    ended = connection.execute(
        "UPDATE outages SET until = ? WHERE source = ? AND until IS NULL", [naive_utc(now), source]
    ).fetchone()
    return ended is not None and ended[0] > 0


def open_outages(connection: duckdb.DuckDBPyConnection) -> list[Outage]:
    """Every outage that is not over, oldest first."""
    rows = connection.execute(
        "SELECT source, since, reason FROM outages WHERE until IS NULL ORDER BY since, source"
    ).fetchall()
    return [Outage(*row) for row in rows]


def stalling(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[Outage]:
    """The open outages that pause sampling: only those of sources that are configured.

    The outage of a bus that is not configured any more would never end, so it would pause sampling for ever.
    """
    configured = {REPORT_BUS} if settings.nats is None else {REPORT_BUS, NATS}
    return [outage for outage in open_outages(connection) if outage.source in configured]


def watch_report_bus(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> str | None:
    """Checks the folder of snapshots, and opens or closes its outage.

    Returns:
        Why the folder cannot be read; None if it can.
    """
    fault = folder_fault(settings)
    since = None
    if fault is None and settings.stall_after_us is not None:
        since = _last_sign_of_life(connection)
        patience = timedelta(microseconds=settings.stall_after_us)
        if since is not None and naive_utc(now) - since > patience:
            fault = f"no new snapshot for more than {format_duration(settings.stall_after_us)}"
    if fault is None:
        end_outage(connection, REPORT_BUS, now)
    else:
        record_outage(connection, REPORT_BUS, fault, now, since)
    return fault


def folder_fault(settings: Settings) -> str | None:
    """Why the folder of snapshots cannot be listed; None if it can."""
    try:
        with os.scandir(settings.report_bus_dir):
            return None
    except FileNotFoundError:
        return "the folder report_bus is missing"
    except OSError as error:
        return f"the folder report_bus cannot be read ({error.strerror})"


def _last_sign_of_life(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When the newest snapshot was ingested; without one, when the first experiment was registered."""
    row = connection.execute(
        "SELECT coalesce((SELECT max(ingested_at) FROM snapshots), "
        "(SELECT min(registered_at) FROM experiments))"
    ).fetchone()
    return None if row is None else row[0]
