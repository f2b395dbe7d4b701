"""The outbox: every event reaches its destination at least once, whatever dies in between.

The stage that decides something writes the event in the same transaction; `people.address` puts notifications to
people beside it. From there on:

1. what is due is read in one short transaction;
2. it is sent, with the warehouse closed, since a network wait must block no tick;
3. what became of each message is recorded in a transaction of its own.

A process killed between 2 and 3 sends again next time, with the same event id, which every destination
takes as the same message. Nothing is recorded as delivered before the destination has said so.
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
        attempt: Number of the attempt to come, from 1, over the message's whole life.
        failures: Failed attempts since it was written, or since an operator asked for redelivery.
    """

    message: Message
    destination: str
    attempt: int
    failures: int


class Outcome(NamedTuple):
    """What became of one attempt, a row of `deliveries`.

    Attributes:
        event_id: The event.
        destination: Name of the destination.
        attempt: Number of the attempt.
        status: `delivered`, `failed` (will be tried again) or `dead` (only an operator brings it back).
        detail: What the destination answered, or what went wrong.
        attempted_at: When (UTC, by the real clock).
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
    """A message that delivery has given up on.

    Attributes:
        event_id: The event.
        kind: Kind of message.
        experiment_id: The experiment it speaks of, None where there are several or none.
        reason_code: The code, for a reason code.
        message: Its sentence.
        destination: The destination that did not take it.
        attempt: The last attempt's number.
        detail: Why it was given up.
        attempted_at: When (UTC).
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
    """What has not been delivered yet, oldest first.

    Args:
        connection: The warehouse.
        destinations: Only what goes to these; None for all, people among them.
        now: Only what is due by then; None also for what still waits for its next attempt.
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
    """Writes what became of attempts, in one transaction."""
    with transaction(connection):
        for outcome in outcomes:
            row = outcome._replace(
                attempted_at=naive_utc(outcome.attempted_at),
                due_at=None if outcome.due_at is None else naive_utc(outcome.due_at),
            )
            connection.execute(load(__package__, "record"), list(row))


def dead_letters(connection: duckdb.DuckDBPyConnection) -> list[DeadLetter]:
    """The messages that delivery has given up on, oldest event first."""
    return [DeadLetter(*row) for row in connection.execute(load(__package__, "dead_letters")).fetchall()]


def redeliver(
    connection: duckdb.DuckDBPyConnection, event_ids: Collection[str], now: datetime | None = None
) -> list[str]:
    """Puts events back among the pending ones, with a fresh count of failures.

    Dead letters and delivered messages alike: a message delivered to files is sent to a destination that was
    connected since. An event that is still pending stays as it is.

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
    """Ids of events and notices for which nobody has looked yet whom to tell, see `people.address`."""
    return [row[0] for row in connection.execute(load(__package__, "not_addressed")).fetchall()]


def counts(connection: duckdb.DuckDBPyConnection) -> Mapping[str, Mapping[str, int]]:
    """Messages per destination and status: `delivered`, `dead`, `failed`, `waiting` (not tried yet)."""
    result: dict[str, dict[str, int]] = {}
    for name, status, count in connection.execute(load(__package__, "counts"), _routes()).fetchall():
        result.setdefault(name, {})[status] = count
    return result


def _routes() -> dict[str, list[str]]:
    return {"kinds": list(ROUTES), "destinations": list(ROUTES.values())}
