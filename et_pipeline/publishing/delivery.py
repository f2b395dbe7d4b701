"""Sends pending messages: retries with backoff and jitter, dead letters, and only one process at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from filelock import FileLock, Timeout
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from et_pipeline.publishing.destinations import Destination, RefusedError, Send, UnavailableError
from et_pipeline.publishing.directory import DirectoryError
from et_pipeline.publishing.log import logger
from et_pipeline.publishing.outbox import Outcome, Pending, pending, record
from et_pipeline.publishing.people import Person, address
from et_pipeline.publishing.routes import DestinationName, files
from et_pipeline.publishing.routes import destinations as configured
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")


class DeliveryBusyError(RuntimeError):
    """Another process is delivering and did not finish in time."""


@dataclass(frozen=True)
class Policy:
    """How often and how long delivery is tried again.

    Attributes:
        tries: Attempts for one message within one round, as long as the destination took the earlier messages.
        first_wait_s: Wait before the second attempt, in seconds; it doubles each time, with jitter.
        longest_wait_s: Longest wait within a round, even if the destination asks for a longer one.
        first_pause_s: Pause before the next round, in seconds; it doubles with every failed round, with jitter.
        longest_pause_s: Longest pause between rounds, unless the destination asks for a longer one.
        rounds: Failed rounds after which a message becomes a dead letter.
        give_up_after: Number of messages in a row that a destination could not take, after which its round ends.
        batch: Number of messages that are sent before their outcomes are recorded.
    """

    tries: int = 4
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    first_pause_s: float = 30.0
    longest_pause_s: float = 3600.0
    rounds: int = 20
    give_up_after: int = 3
    batch: int = 50


class Delivery(NamedTuple):
    """The result of one round.

    Attributes:
        outcomes: Every attempt, in the order of sending.
    """

    outcomes: list[Outcome]

    def with_status(self, status: str) -> list[Outcome]:
        """The attempts with a status: `delivered`, `failed` or `dead`."""
        return [outcome for outcome in self.outcomes if outcome.status == status]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def deliver(
    settings: Settings,
    *,
    destinations: Mapping[DestinationName, Destination] | None = None,
    policy: Policy | None = None,
    clock: Callable[[], datetime] = _utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """One round: sends the messages that are due and records the outcomes.

    The warehouse is open only while due messages are read and outcomes are recorded, never while waiting for the
    network.

    Args:
        settings: The places of warehouse and destinations.
        destinations: The destination for each name of `ROUTES`, and no others; None for those of the settings,
            including people.
        policy: How often and how long delivery is tried again.
        clock: The real time. Backoff depends on the world outside, so a fixed `ET_NOW` does not stop it.
        sleep: Waits the given number of seconds.

    Raises:
        DeliveryBusyError: Another process was delivering during the whole time.
        WarehouseError: The warehouse could not be opened; messages sent meanwhile are sent again next time.
    """
    found = configured(settings) if destinations is None else destinations
    chosen = {str(name): destination for name, destination in found.items()}
    policy = policy or Policy(rounds=settings.delivery_attempts)
    done: list[Outcome] = []
    with _only_deliverer(settings, settings.lock_timeout_s):
        with open_warehouse(settings) as connection:
            due = pending(connection, destinations, clock())
        for name, group in groupby(sorted(due, key=_destination), key=_destination):
            channel = _Round(chosen.get(name) or Person(settings, name), policy, clock, sleep)
            for batch in _batches(list(group), policy.batch):
                outcomes = channel.send(batch)
                with open_warehouse(settings) as connection:
                    record(connection, outcomes)
                done += outcomes
                _log(settings, batch, outcomes)
    return Delivery(done)


def deliver_to_files(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Delivery:
    """Sends the due messages whose destination is a file; this is part of a tick, since it does not wait for a network.

    It also makes the notifications for people, so that the job `publish` has nothing to do if there are none.
    A message that cannot be written at the first attempt stays pending, and so do all messages while another process
    delivers; `deliver` sends them later.

    Args:
        connection: The warehouse.
        settings: The place of the outbox.
    """
    here: dict[str, Destination] = dict(files(settings).items())
    policy = Policy(tries=1, give_up_after=1)
    sent: list[tuple[Pending, Outcome]] = []
    try:
        with _only_deliverer(settings, 0):
            with suppress(DirectoryError):  # the job `publish` then fails with it, where people see it
                address(connection, settings, _utc_now())
            due = sorted(pending(connection, here, _utc_now()), key=_destination)
            for name, group in groupby(due, key=_destination):
                batch = list(group)
                outcomes = _Round(here[name], policy, _utc_now, time.sleep).send(batch)
                sent += zip(batch, outcomes, strict=True)
            sent = [(message, outcome) for message, outcome in sent if outcome.status == "delivered"]
            record(connection, [outcome for _, outcome in sent])
    except DeliveryBusyError:
        pass
    _log(settings, [message for message, _ in sent], [outcome for _, outcome in sent])
    return Delivery([outcome for _, outcome in sent])


class _Round:
    """One round at one destination; the outcomes so far decide how often later messages are tried."""

    def __init__(
        self,
        destination: Destination,
        policy: Policy,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self._destination, self._policy, self._clock, self._sleep = destination, policy, clock, sleep
        self._failed_in_a_row = 0
        self._down: UnavailableError | None = None

    def send(self, batch: Sequence[Pending]) -> list[Outcome]:
        """Sends the messages of a batch and returns the outcome of each."""
        outcomes: list[Outcome] = []
        with ExitStack() as stack:
            send = self._connect(stack)
            for item in batch:
                if send is not None and self._down is None:
                    outcomes.append(self._one(item, send))
                elif self._down is not None:
                    outcomes.append(self._failure(item, self._down))
        return outcomes

    def _connect(self, stack: ExitStack) -> Send | None:
        if self._down is not None:
            return None
        try:
            return self._retrying(lambda: stack.enter_context(self._destination.open()))
        except UnavailableError as error:
            self._down = error
            return None

    def _one(self, item: Pending, send: Send) -> Outcome:
        try:
            detail = self._retrying(lambda: send(item.message))
        except RefusedError as error:
            self._failed_in_a_row = 0
            return self._outcome(item, "dead", str(error))
        except UnavailableError as error:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._policy.give_up_after:
                self._down = error
            return self._failure(item, error)
        self._failed_in_a_row = 0
        return self._outcome(item, "delivered", detail)

    def _retrying(self, action: Callable[[], T]) -> T:
        policy = self._policy
        backoff = wait_exponential(policy.first_wait_s, policy.longest_wait_s) + wait_random(
            0, policy.first_wait_s
        )

        def asked(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return (error.retry_after_s or 0.0) if isinstance(error, UnavailableError) else 0.0

        def stop(state: RetryCallState) -> bool:
            tries = 1 if self._failed_in_a_row else policy.tries
            return state.attempt_number >= tries or asked(state) > policy.longest_wait_s

        return Retrying(
            retry=retry_if_exception_type(UnavailableError),
            stop=stop,
            wait=lambda state: max(backoff(state), asked(state)),
            sleep=self._sleep,
            reraise=True,
        )(action)

    def _failure(self, item: Pending, error: UnavailableError) -> Outcome:
        failures = item.failures + 1
        if failures >= self._policy.rounds:
            return self._outcome(item, "dead", f"given up after {failures} rounds: {error}")
        pause = min(self._policy.longest_pause_s, self._policy.first_pause_s * 2.0**item.failures)
        pause = max(pause * random.uniform(0.5, 1.0), error.retry_after_s or 0.0)
        return self._outcome(item, "failed", str(error), self._clock() + timedelta(seconds=pause))

    def _outcome(self, item: Pending, status: str, detail: str, due_at: datetime | None = None) -> Outcome:
        return Outcome(
            item.message.event_id, item.destination, item.attempt, status, detail, self._clock(), due_at
        )


def _log(settings: Settings, batch: Sequence[Pending], outcomes: Sequence[Outcome]) -> None:
    if not batch:
        return
    log = logger(settings)
    for item, outcome in zip(batch, outcomes, strict=True):
        write = {"delivered": log.info, "failed": log.warning, "dead": log.error}[outcome.status]
        write(
            outcome.status,
            reason_code=item.message.reason_code,
            experiment_id=item.message.experiment_id,
            kind=item.message.kind,
            event_id=outcome.event_id,
            destination=outcome.destination,
            attempt=outcome.attempt,
            detail=outcome.detail,
        )


def _destination(item: Pending) -> str:
    return item.destination


def _batches(items: Sequence[Pending], size: int) -> Iterator[Sequence[Pending]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def _only_deliverer(settings: Settings, patience_s: float) -> Iterator[None]:
    """Holds the delivery lock, since two processes that deliver at once would send everything twice."""
    path = settings.warehouse_path.with_name("delivery.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=patience_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise DeliveryBusyError(
            f"another process has been delivering for more than {patience_s:g} s; "
            "that process continues, and what is still pending then is delivered in the next round"
        ) from error
    try:
        yield
    finally:
        lock.release()
