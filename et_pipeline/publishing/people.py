"""Notifications to people: one for each address, delivered by the package Apprise.

Events and notices become notifications once, in one transaction (`address`). Then they wait in the outbox like every
other message, separately for each address. So a chat message does not wait for a mail server that cannot be reached,
and nobody gets a message twice because another person could not be reached. A person may still get a message twice if a
process is killed between sending it and recording this: mail and chats have no idempotency key, so each message ends
with its id.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from et_pipeline.common.sql import insert_row, load
from et_pipeline.common.times import naive_utc
from et_pipeline.common.untrusted import shown
from et_pipeline.governance.next_steps import command
from et_pipeline.publishing.destinations import Message, RefusedError, Send, UnavailableError
from et_pipeline.publishing.directory import Directory, DirectoryError, Topic, read_directory
from et_pipeline.settings import Secret, Settings
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb

PREFIX = "people:"
"""Prefix of the name of a destination that is an address of `notifications.yaml`."""
TITLES: dict[Topic, str] = {
    "review_request": "a better variant waits for reviewers",
    "split_request": "a large split waits for a sign-off",
    "result": "there is a verdict",
    "drift": "a variant underperforms",
    "stalled": "sampling is paused",
    "verdict_contradicted": "an announced verdict no longer follows",
    "verdict_weakened": "the present interval no longer supports a verdict",
    "check_failed": "a check fails",
    "check_warning": "a check warns",
    "run_failed": "a run failed",
}
ASKS = {"review_request": "promotion_review", "split_request": "awaiting_sign_off"}
"""The state in which a person signs, by the topic of the request."""
MAX_PARTS = 20
"""Largest number of events that one message lists; further events are only counted."""
MAX_DETAIL = 300
_PIECES = re.compile(r"[/:@?&=+,;#\s]+")
SECRET_LENGTH = 4
"""Length from which a piece of an address is never shown, since it may be secret."""


class Occurrence(NamedTuple):
    """One event or notice for people.

    Attributes:
        source_id: Its id.
        topic: What it is about.
        experiment_id: The experiment, None where it is about none.
        owner: The experiment's owner.
        severity: `INFO`, `WARN` or `ERROR`.
        message: Its sentence.
    """

    source_id: str
    topic: Topic
    experiment_id: str | None
    owner: str | None
    severity: str
    message: str


class Text(NamedTuple):
    """One message to people, in the form of `notifications.payload`.

    Attributes:
        title: The subject.
        body: Plain text.
        severity: `INFO`, `WARN` or `ERROR`.
    """

    title: str
    body: str
    severity: str


def address(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> int:
    """Makes the notifications for all new events and notices, in one transaction.

    An event that happened before there was a route for it is not sent to anybody later.

    Args:
        connection: The warehouse, outside any transaction.
        settings: The place of `notifications.yaml`, and the address at which people open the pages.
        now: The real time.

    Returns:
        The number of new notifications.

    Raises:
        DirectoryError: `notifications.yaml` is not valid; new events wait until it is.
    """
    new = [Occurrence(*row) for row in connection.execute(load(__package__, "not_addressed")).fetchall()]
    if not new:
        return 0
    directory = read_directory(settings)
    groups: dict[tuple[str, Topic], list[Occurrence]] = {}
    for occurrence in new:
        for name in directory.recipients(occurrence.topic, occurrence.owner, occurrence.experiment_id):
            groups.setdefault((name, occurrence.topic), []).append(occurrence)
    with transaction(connection):
        for (name, topic), parts in groups.items():
            _insert(connection, settings, name, topic, parts, now)
        connection.executemany(
            "INSERT INTO addressed VALUES (?)", [[occurrence.source_id] for occurrence in new]
        )
    return len(groups)


def _insert(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    name: str,
    topic: Topic,
    parts: list[Occurrence],
    now: datetime,
) -> None:
    sources = [occurrence.source_id for occurrence in parts]
    identifier = hashlib.sha256(json.dumps([name, *sources]).encode()).hexdigest()[:32]
    text = compose(topic, parts, settings.pages_url, identifier)
    about = {occurrence.experiment_id for occurrence in parts}
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM notifications").fetchone() or (0,)
    row = {
        "notification_id": identifier,
        "address": name,
        "topic": topic,
        "experiment_id": about.pop() if len(about) == 1 else None,
        "sources": sources,
        "message": text.title,
        "payload": json.dumps(text._asdict(), ensure_ascii=False),
        "created_at": naive_utc(now),
        "seq": last + 1,
    }
    insert_row(connection, "notifications", row)


def compose(topic: Topic, parts: list[Occurrence], pages_url: str | None, identifier: str) -> Text:
    """The message about one topic: a paragraph for each event, with the link to its page and what a person does next.

    Args:
        topic: What it is about.
        parts: At least one event or notice.
        pages_url: The address at which people open the pages; None if they have none.
        identifier: The notification's id.
    """
    about = sorted({occurrence.experiment_id for occurrence in parts if occurrence.experiment_id})
    which = "" if not about else f"{about[0]}: " if len(about) == 1 else f"{len(about)} experiments: "
    paragraphs = [_paragraph(occurrence, pages_url) for occurrence in parts[:MAX_PARTS]]
    if len(parts) > MAX_PARTS:
        paragraphs.append(f"… and {len(parts) - MAX_PARTS} more; et status lists every experiment.")
    paragraphs.append(f"ExperimentTracker observes and reports; it never promotes. Message {identifier}")
    order = ("INFO", "WARN", "ERROR")
    severity = max((occurrence.severity for occurrence in parts), key=order.index)
    return Text(f"ExperimentTracker: {which}{TITLES[topic]}", "\n\n".join(paragraphs), severity)


def _paragraph(occurrence: Occurrence, pages_url: str | None) -> str:
    lines = [shown(occurrence.message)]
    if occurrence.experiment_id is not None:
        page = None if pages_url is None else f"{pages_url}/{occurrence.experiment_id}.html"
        lines.append(f"Page: {page}" if page else f"Look at it: et show {occurrence.experiment_id}")
        signs = command(occurrence.experiment_id, ASKS.get(occurrence.topic))
        if signs is not None:
            lines.append(f"Then decide: {signs} (or decline)")
    return "\n".join(lines)


class Person:
    """One address of `notifications.yaml` as a destination of the outbox."""

    def __init__(self, settings: Settings, destination: str) -> None:
        self._settings, self._name = settings, destination.removeprefix(PREFIX)

    @contextmanager
    def open(self) -> Iterator[Send]:
        """Reads the address from the place that `notifications.yaml` names; it connects with the first message.

        Raises:
            UnavailableError: The file or the address cannot be used.
        """
        try:
            directory = read_directory(self._settings)
            url = directory.url(self._name)
        except DirectoryError as error:
            raise UnavailableError(str(error)) from None
        except KeyError:
            yield self._refuse_all(directory)
            return
        yield _sender(self._name, url)

    def _refuse_all(self, directory: Directory) -> Send:
        def send(message: Message) -> str:
            raise RefusedError(
                f"{directory.path.name} has no address {self._name} any more; "
                f"it has: {', '.join(sorted(directory.addresses)) or 'none'}"
            )

        return send


def _sender(name: str, url: Secret) -> Send:
    """Returns a function that sends by the plugin of the package Apprise for this kind of address.

    Raises:
        UnavailableError: There is no such plugin.
    """
    # Imported only here, since it takes longer to load than a whole tick that finds nothing new.
    import apprise

    asset = apprise.AppriseAsset(
        app_id="ExperimentTracker", app_desc="ExperimentTracker", secure_logging=True
    )
    with _captured() as log:
        plugin = apprise.Apprise.instantiate(url.reveal(), asset=asset)
    if plugin is None:
        raise UnavailableError(
            f"address {name} is not an Apprise URL that can be used: {_redacted(log, url)}"
        )
    kinds = {"INFO": "info", "WARN": "warning", "ERROR": "failure"}

    def send(message: Message) -> str:
        text = Text(**json.loads(message.body))
        with _captured() as log:
            taken = plugin.notify(
                title=text.title, body=text.body, notify_type=kinds[text.severity], body_format="text"
            )
        if not taken:
            raise UnavailableError(f"address {name} did not take it: {_redacted(log, url)}")
        return f"taken by {name}"

    return send


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Collects the package's log lines, since its functions return only whether they worked; other logs do not get
    them."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("apprise")
    log.propagate = False
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


def _redacted(lines: list[str], url: Secret) -> str:
    """The package's log lines as one line, without any part of the address, which may have passwords and tokens."""
    text = " ".join(lines)
    whole = url.reveal()
    pieces = {piece for form in (whole, unquote(whole)) for piece in _PIECES.split(form)}
    for piece in sorted((piece for piece in pieces if len(piece) >= SECRET_LENGTH), key=len, reverse=True):
        text = text.replace(piece, "…")
    return shown(" ".join(text.split()))[:MAX_DETAIL] or "the package Apprise gave no reason"
