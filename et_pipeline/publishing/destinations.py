"""The interface of all destinations of messages: report bus, StrategyRegistry, people, and files in place of these."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from et_pipeline.contracts.messages import Kind

MessageKind = Kind | Literal["notification"]
"""An event's kind, or a notification to people."""


class Message(NamedTuple):
    """One message that is to be sent.

    Attributes:
        event_id: The idempotency key.
        kind: Which kind of message it is.
        experiment_id: The experiment that it is about; None if it is about several or none.
        reason_code: The code, for a reason code.
        body: The whole message as JSON; the same bytes at every attempt.
    """

    event_id: str
    kind: MessageKind
    experiment_id: str | None
    reason_code: str | None
    body: bytes


class RefusedError(Exception):
    """The destination will never take this message, so it becomes a dead letter and is not tried again."""


class UnavailableError(Exception):
    """The destination cannot take the message now.

    Attributes:
        retry_after_s: Seconds that the destination asked to wait; None if it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


Send = Callable[[Message], str]
"""Sends one message; returns what the destination answered, in a few words."""


class Destination(Protocol):
    """A place to which messages are sent. To receive the same event id twice must do no harm there."""

    def open(self) -> AbstractContextManager[Send]:
        """Connects, to send some messages.

        Raises:
            UnavailableError: It cannot be reached, or cannot take a message now.
            RefusedError: It will not take a message, whenever it is sent.
        """
