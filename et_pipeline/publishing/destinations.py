"""What every destination of messages is: report bus, StrategyRegistry, the files that stand in for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from et_pipeline.contracts.messages import Kind

MessageKind = Kind | Literal["notification"]
"""An event's kind, or a notification to people."""


class Message(NamedTuple):
    """One message on its way out.

    Attributes:
        event_id: The idempotency key.
        kind: Which kind of message.
        experiment_id: The experiment it speaks of, None where there are several or none.
        reason_code: The code, for a reason code.
        body: The whole message as JSON; the same bytes at every attempt.
    """

    event_id: str
    kind: MessageKind
    experiment_id: str | None
    reason_code: str | None
    body: bytes


class RefusedError(Exception):
    """The destination will never take this message as it is: no retry, but the dead-letter list."""


class UnavailableError(Exception):
    """The destination cannot take the message now.

    Attributes:
        retry_after_s: Seconds the destination asked to wait; None where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


Send = Callable[[Message], str]
"""Sends one message; returns what the destination answered, in a few words."""


class Destination(Protocol):
    """Somewhere messages go. Taking the same event id twice must be harmless there."""

    def open(self) -> AbstractContextManager[Send]:
        """Connects, for a handful of messages.

        Raises:
            UnavailableError: It cannot be reached, or cannot take a message now.
            RefusedError: It will not take a message, whenever it is sent.
        """
