"""The outbox: pending messages, retries, and what an operator can send again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from et_pipeline.publishing.delivery import DeliveryBusyError, Policy, deliver
from et_pipeline.publishing.destinations import Message, RefusedError, Send, UnavailableError
from et_pipeline.publishing.file_outbox import FileOutbox
from et_pipeline.publishing.outbox import counts, dead_letters, pending, redeliver
from et_pipeline.warehouse.connection import open_warehouse


class Scripted:
    """A destination that answers as told, attempt by attempt; without a script it takes everything."""

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.seen: list[str] = []

    @contextmanager
    def open(self) -> Iterator[Send]:
        yield self.send

    def send(self, message: Message) -> str:
        self.seen.append(message.event_id)
        if self.script:
            raise self.script.pop(0)
        return "taken"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 3, 13, tzinfo=UTC)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


def both(destination):
    return {"report_bus": destination, "strategy_registry": destination}


def history(settings, event):
    with open_warehouse(settings) as connection:
        return connection.execute(
            "SELECT attempt, status FROM deliveries WHERE event_id = ? ORDER BY attempt", [event]
        ).fetchall()


def test_every_event_becomes_one_file_and_a_second_round_sends_nothing(
    settings, put_events, reports, signals, result_and_review
):
    events = reports(3) + signals(2) + result_and_review
    ids = put_events(settings, events)

    first = deliver(settings)
    second = deliver(settings)

    files = {path.stem: json.loads(path.read_text()) for path in settings.outbox_dir.iterdir()}
    assert files == {event.event_id: event.payload for event in events}
    assert sorted(outcome.event_id for outcome in first.with_status("delivered")) == sorted(ids)
    assert second.outcomes == []


def test_each_kind_goes_to_its_destination(settings, put_events, reports, signals, result_and_review):
    put_events(settings, reports(1) + signals(1) + result_and_review)
    with open_warehouse(settings) as connection:
        routed = {item.message.kind: item.destination for item in pending(connection)}
        only_registry = pending(connection, ["strategy_registry"])
    assert routed == {
        "reason_code": "report_bus",
        "promotion_review": "report_bus",
        "drift_signal": "strategy_registry",
    }
    assert [item.message.kind for item in only_registry] == ["drift_signal"]


def test_a_message_is_the_same_bytes_at_every_attempt(settings, put_events, reports):
    put_events(settings, reports(1))
    with open_warehouse(settings) as connection:
        bodies = {pending(connection)[0].message.body for _ in range(3)}
        stored = connection.execute("SELECT payload FROM events").fetchone()[0]
    assert bodies == {stored.encode()}


def test_a_short_failure_is_retried_within_the_round_with_growing_waits(settings, put_events, reports):
    (event,) = put_events(settings, reports(1))
    clock = Clock()
    bus = Scripted(UnavailableError("busy"), UnavailableError("busy"), UnavailableError("busy"))
    delivery = deliver(settings, destinations=both(bus), clock=clock, sleep=clock.sleep)
    assert [outcome.status for outcome in delivery.outcomes] == ["delivered"]
    assert bus.seen == [event] * 4
    assert len(clock.slept) == 3
    assert all(0.5 * 2**n <= wait <= 0.5 * 2**n + 0.5 for n, wait in enumerate(clock.slept))


def test_the_wait_a_destination_asks_for_is_kept(settings, put_events, reports):
    put_events(settings, reports(1))
    clock = Clock()
    deliver(
        settings,
        destinations=both(Scripted(UnavailableError("429", retry_after_s=7))),
        clock=clock,
        sleep=clock.sleep,
    )
    assert clock.slept == [7]


def test_a_long_wait_is_left_to_a_later_round(settings, put_events, reports):
    (event,) = put_events(settings, reports(1))
    clock = Clock()
    bus = Scripted(UnavailableError("429", retry_after_s=900))
    (outcome,) = deliver(settings, destinations=both(bus), clock=clock, sleep=clock.sleep).outcomes
    assert (outcome.status, clock.slept, bus.seen) == ("failed", [], [event])
    assert outcome.due_at == clock.now + timedelta(seconds=900)

    clock.now += timedelta(seconds=899)
    assert deliver(settings, destinations=both(bus), clock=clock).outcomes == []
    clock.now += timedelta(seconds=1)
    assert [o.status for o in deliver(settings, destinations=both(bus), clock=clock).outcomes] == [
        "delivered"
    ]
    assert history(settings, event) == [(1, "failed"), (2, "delivered")]


def test_a_refused_message_is_a_dead_letter_at_once_and_stops_no_other(settings, put_events, reports):
    ids = put_events(settings, reports(3))
    clock = Clock()
    bus = Scripted(RefusedError("HTTP 400: no such field"))
    delivery = deliver(settings, destinations=both(bus), clock=clock, sleep=clock.sleep)
    assert [outcome.status for outcome in delivery.outcomes] == ["dead", "delivered", "delivered"]
    assert bus.seen == ids
    with open_warehouse(settings) as connection:
        (letter,) = dead_letters(connection)
        assert counts(connection) == {"report_bus": {"dead": 1, "delivered": 2}}
    assert (letter.event_id, letter.detail) == (ids[0], "HTTP 400: no such field")
    assert deliver(settings, destinations=both(bus), clock=clock).outcomes == []


def test_pauses_between_rounds_grow_until_the_message_is_given_up(settings, put_events, reports):
    (event,) = put_events(settings, reports(1))
    clock = Clock()
    policy = Policy(tries=1, rounds=6, first_pause_s=10, longest_pause_s=60)
    bus = Scripted(*(UnavailableError(f"HTTP 503, {number}") for number in range(6)))
    pauses = []
    for _ in range(5):
        (outcome,) = deliver(settings, destinations=both(bus), policy=policy, clock=clock).outcomes
        assert outcome.status == "failed"
        pauses.append((outcome.due_at - clock.now).total_seconds())
        clock.now = outcome.due_at
    assert all(
        longest / 2 <= pause <= longest for pause, longest in zip(pauses, [10, 20, 40, 60, 60], strict=True)
    )
    (last,) = deliver(settings, destinations=both(bus), policy=policy, clock=clock).outcomes
    assert (last.status, last.detail) == ("dead", "given up after 6 rounds: HTTP 503, 5")
    assert history(settings, event) == [(n, "failed") for n in range(1, 6)] + [(6, "dead")]


def test_a_destination_that_is_down_is_not_asked_for_every_message(settings, put_events, reports):
    ids = put_events(settings, reports(120))
    clock = Clock()
    bus = Scripted(*(UnavailableError("connection refused") for _ in range(500)))
    delivery = deliver(settings, destinations=both(bus), clock=clock, sleep=clock.sleep)
    assert bus.seen == [ids[0]] * 4 + ids[1:3]
    assert [outcome.status for outcome in delivery.outcomes] == ["failed"] * 120


def test_one_message_that_always_fails_holds_up_no_other(settings, put_events, reports):
    ids = put_events(settings, reports(3))
    clock = Clock()
    bus = Scripted(*(UnavailableError("HTTP 500") for _ in range(4)))
    delivery = deliver(settings, destinations=both(bus), clock=clock, sleep=clock.sleep)
    assert [(o.event_id, o.status) for o in delivery.outcomes] == [
        (ids[0], "failed"),
        (ids[1], "delivered"),
        (ids[2], "delivered"),
    ]


def test_an_operator_brings_back_dead_and_delivered_messages(settings, put_events, reports):
    ids = put_events(settings, reports(3))
    clock = Clock()
    bus = Scripted(RefusedError("HTTP 422"))
    deliver(settings, destinations=both(bus), clock=clock)
    late = put_events(settings, [event._replace(event_id="f" * 32) for event in reports(1)])
    with open_warehouse(settings) as connection:
        assert redeliver(connection, [ids[0], ids[1], ids[0], *late], clock.now) == [ids[0], ids[1]]
        assert redeliver(connection, [ids[0]], clock.now) == []  # pending already
        assert dead_letters(connection) == []
    delivery = deliver(settings, destinations=both(bus), clock=clock)
    assert sorted(o.event_id for o in delivery.with_status("delivered")) == sorted([ids[0], ids[1], *late])
    assert history(settings, ids[0]) == [(1, "dead"), (2, "requeued"), (3, "delivered")]


def test_bringing_back_counts_failures_anew(settings, put_events, reports):
    (event,) = put_events(settings, reports(1))
    clock, policy = Clock(), Policy(tries=1, rounds=1)
    deliver(settings, destinations=both(Scripted(UnavailableError("x"))), policy=policy, clock=clock)
    with open_warehouse(settings) as connection:
        redeliver(connection, [event], clock.now)
        assert pending(connection)[0].failures == 0


def test_bringing_back_an_unknown_event_is_refused_and_changes_nothing(settings, put_events, reports):
    (event,) = put_events(settings, reports(1))
    deliver(settings)
    with open_warehouse(settings) as connection:
        with pytest.raises(KeyError, match="no event has the id abc"):
            redeliver(connection, [event, "abc"])
        assert pending(connection) == []


def test_a_fixed_clock_of_the_pipeline_does_not_stop_retries(settings, put_events, reports):
    put_events(settings, reports(1))
    fixed = replace(settings, fixed_now=datetime(2020, 1, 1, tzinfo=UTC))
    policy = Policy(tries=1, first_pause_s=0)
    deliver(fixed, destinations=both(Scripted(UnavailableError("x"))), policy=policy)
    assert [o.status for o in deliver(fixed, destinations=both(Scripted())).outcomes] == ["delivered"]


def test_the_warehouse_is_free_while_a_message_is_under_way(settings, put_events, reports):
    put_events(settings, reports(1))
    opened = []

    class Looks(Scripted):
        def send(self, message: Message) -> str:
            with open_warehouse(replace(settings, lock_timeout_s=0)) as connection:
                opened.append(connection.execute("SELECT count(*) FROM events").fetchone()[0])
            return super().send(message)

    deliver(settings, destinations=both(Looks()))
    assert opened == [1]


def test_two_deliverers_never_work_at_once(settings, put_events, reports):
    put_events(settings, reports(1))
    with (
        FileLock(settings.warehouse_path.with_name("delivery.lock")),
        pytest.raises(DeliveryBusyError, match="another process has been delivering"),
    ):
        deliver(replace(settings, lock_timeout_s=0.1))
    assert len(deliver(settings).with_status("delivered")) == 1


def test_a_folder_that_cannot_be_written_is_retried_not_lost(settings, put_events, reports):
    put_events(settings, reports(1))
    settings.outbox_dir.write_text("a file where the folder belongs")
    clock = Clock()
    (outcome,) = deliver(settings, clock=clock, sleep=clock.sleep).outcomes
    assert outcome.status == "failed"
    assert "cannot be written" in outcome.detail


def test_a_message_in_the_file_outbox_is_whole_or_absent(tmp_path):
    folder = tmp_path / "outbox"
    folder.mkdir()
    (folder / "abc.json.tmp").write_text('{"half')  # what a killed process leaves
    message = Message("abc", "reason_code", "exp", "EXPERIMENT_STARTED", b'{"whole": 1}')
    with FileOutbox(folder).open() as send:
        assert send(message) == "written to abc.json"
        assert send(message._replace(body=b"other")) == "abc.json was there already"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"abc.json": b'{"whole": 1}\n'}


@pytest.mark.parametrize("identifier", ["../evil", "a/b", "", ".", "x" * 101, "a\n"])
def test_an_event_id_never_leaves_the_folder(tmp_path, identifier):
    with FileOutbox(tmp_path / "outbox").open() as send, pytest.raises(RefusedError, match="file name"):
        send(Message(identifier, "reason_code", "exp", None, b"{}"))
    assert list(tmp_path.iterdir()) == []
