"""The outbox: every event reaches its destination at least once, even if processes are killed at any point.

The stage that decides something writes the event in the same transaction; `people.address` adds notifications to
people. After that:

1. the due messages are read in one short transaction;
2. they are sent while the warehouse is closed, so that waiting for a network does not block a tick;
3. the outcome of each message is recorded in a transaction of its own.

After a process is killed between 2 and 3, the messages are sent again next time with the same event id, by which every
destination recognises the same message. Nothing is recorded as delivered before the destination has confirmed it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import load
from et_pipeline.common.times import naive_utc
from et_pipeline.publishing.destinations import Message
from et_pipeline.publishing.routes import ROUTES
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb


class Pending(NamedTuple):
    """A message that one destination has not taken yet.

    Attributes:
        message: The message.
        destination: Name of the destination.
        attempt: Number of the next attempt, counted from 1 since the message was written.
        failures: Failed attempts since it was written, or since an operator asked for redelivery.
    """

    message: Message
    destination: str
    attempt: int
    failures: int


class Outcome(NamedTuple):
    """The outcome of one attempt: a row of `deliveries`.

    Attributes:
        event_id: The event.
        destination: Name of the destination.
        attempt: Number of the attempt.
        status: `delivered`, `failed` (will be tried again) or `dead` (only an operator can have it sent again).
        detail: The destination's answer, or the error.
        attempted_at: Time of the attempt (UTC, by the real clock).
        due_at: When it will be tried again, for `failed`.
    """

    event_id: str
    destination: str
    attempt: int
    status: str
    detail: str
    attempted_at: datetime
    due_at: datetime | None


class DeadLetter(NamedTuple):
    """A message that delivery does not try to send any more.

    Attributes:
        event_id: The event.
        kind: Kind of message.
        experiment_id: The experiment that it is about; None if it is about several or none.
        reason_code: The code, for a reason code.
        message: Its sentence.
        destination: The destination that did not take it.
        attempt: Number of the last attempt.
        detail: Why it is not tried again.
        attempted_at: Time of the last attempt (UTC).
    """

    event_id: str
    kind: str
    experiment_id: str | None
    reason_code: str | None
    message: str
    destination: str
    attempt: int
    detail: str
    attempted_at: datetime


def pending(
    connection: duckdb.DuckDBPyConnection,
    destinations: Collection[str] | None = None,
    now: datetime | None = None,
) -> list[Pending]:
    """The messages that have not been delivered yet, the oldest first.

    Args:
        connection: The warehouse.
        destinations: Only messages to these destinations; None for all, including people.
        now: Only messages that are due by then; None to include those that wait for their next attempt.
    """
    routes = [(kind, name) for kind, name in ROUTES.items() if destinations is None or name in destinations]
    parameters = {
        "kinds": [kind for kind, _ in routes],
        "destinations": [name for _, name in routes],
        "people": destinations is None,
        "now": None if now is None else naive_utc(now),
    }
    rows = connection.execute(load(__package__, "pending"), parameters).fetchall()
    return [
        Pending(Message(identifier, kind, experiment, code, payload.encode()), name, attempt, failures)
        for identifier, kind, experiment, code, payload, name, attempt, failures in rows
    ]


def record(connection: duckdb.DuckDBPyConnection, outcomes: Collection[Outcome]) -> None:
    """Writes the outcomes of attempts, in one transaction."""
    with transaction(connection):
        for outcome in outcomes:
            row = outcome._replace(
                attempted_at=naive_utc(outcome.attempted_at),
                due_at=None if outcome.due_at is None else naive_utc(outcome.due_at),
            )
            connection.execute(load(__package__, "record"), list(row))


def dead_letters(connection: duckdb.DuckDBPyConnection) -> list[DeadLetter]:
    """All dead letters, the oldest event first."""
    return [DeadLetter(*row) for row in connection.execute(load(__package__, "dead_letters")).fetchall()]


def redeliver(
    connection: duckdb.DuckDBPyConnection, event_ids: Collection[str], now: datetime | None = None
) -> list[str]:
    """Makes events pending again, with a count of failures that starts at 0.

    This is possible for dead letters and for delivered messages; a message that was delivered to a file is then sent to
    a destination that was connected since. An event that is still pending is not changed.

    Returns:
        The ids that were put back.

    Raises:
        KeyError: There is no such event; nothing was put back.
    """
    wanted = list(dict.fromkeys(event_ids))
    known = {row[0] for row in connection.execute(load(__package__, "known"), [wanted]).fetchall()}
    unknown = [identifier for identifier in wanted if identifier not in known]
    if unknown:
        raise KeyError(f"no event has the id {', '.join(unknown)}; `events` lists them")
    parameters = {"event_ids": wanted, "now": naive_utc(now or datetime.now(UTC))}
    with transaction(connection):
        back = {row[0] for row in connection.execute(load(__package__, "redeliver"), parameters).fetchall()}
    return [identifier for identifier in wanted if identifier in back]


def not_addressed(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Ids of events and notices whose recipients have not been determined yet, see `people.address`."""
    return [row[0] for row in connection.execute(load(__package__, "not_addressed")).fetchall()]


def counts(connection: duckdb.DuckDBPyConnection) -> Mapping[str, Mapping[str, int]]:
    """Numbers of messages by destination and status: `delivered`, `dead`, `failed`, `waiting` (not tried yet)."""
    result: dict[str, dict[str, int]] = {}
    for name, status, count in connection.execute(load(__package__, "counts"), _routes()).fetchall():
        result.setdefault(name, {})[status] = count
    return result


def _routes() -> dict[str, list[str]]:
    return {"kinds": list(ROUTES), "destinations": list(ROUTES.values())}
