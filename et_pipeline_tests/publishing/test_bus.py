"""The report bus on a real NATS server: the pipeline's reports on it, and snapshots from it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import nkeys
import pytest

from et_pipeline.publishing import bus_snapshot
from et_pipeline.publishing.bus_snapshot import Limits, as_lines, take_snapshots
from et_pipeline.publishing.delivery import Policy, deliver
from et_pipeline.publishing.destinations import UnavailableError
from et_pipeline.publishing.nats_bus import NatsBus
from et_pipeline.publishing.outbox import counts, redeliver
from et_pipeline.settings import NatsSettings, Settings
from et_pipeline.warehouse.connection import open_warehouse

FAST = Policy(tries=2, first_wait_s=0.01, longest_wait_s=0.05, first_pause_s=0, longest_pause_s=0)


def payloads(start: int, stop: int) -> list[bytes]:
    return [json.dumps({"report_id": f"r-{number}"}).encode() for number in range(start, stop)]


def snapshot_lines(settings: Settings) -> list[bytes]:
    files = sorted(settings.report_bus_dir.rglob("*.ndjson"))
    return [line for path in files for line in path.read_bytes().splitlines()]


def unacknowledged(nats_server) -> int:
    async def ask(jetstream):
        info = await jetstream.consumer_info("OPERATIONS_REPORTS", "experimenttracker")
        return info.num_pending + info.num_ack_pending

    return nats_server.run(ask)


# publishing ------------------------------------------------------------------------------------------------


def test_our_reports_stand_on_the_bus_with_their_id(on_nats, nats_server, put_events, reports, signals):
    events = reports(3)
    put_events(on_nats, events + signals(1))
    deliver(on_nats)
    stored = nats_server.messages()
    assert [(subject, headers["Nats-Msg-Id"], json.loads(body)) for subject, headers, body in stored] == [
        ("operations.reports.experimenttracker", event.event_id, event.payload) for event in events
    ]
    # The drift signal goes to the registry, and none is connected.
    assert len(list(on_nats.outbox_dir.iterdir())) == 1


def test_sent_twice_is_stored_once(on_nats, nats_server, put_events, reports):
    (event,) = put_events(on_nats, reports(1))
    deliver(on_nats)
    with open_warehouse(on_nats) as connection:
        redeliver(connection, [event])
    (again,) = deliver(on_nats).outcomes
    assert again.detail == "stored in OPERATIONS_REPORTS, which had it already, sequence 1"
    assert len(nats_server.messages()) == 1


def test_a_server_taken_down_and_up_again_loses_nothing(on_nats, nats_server, put_events, reports):
    put_events(on_nats, reports(2))
    deliver(on_nats)
    nats_server.down(signal.SIGKILL)
    put_events(on_nats, [event._replace(event_id=f"late-{n}") for n, event in enumerate(reports(3))])
    start = time.monotonic()
    down = deliver(on_nats, policy=FAST)
    assert [outcome.status for outcome in down.outcomes] == ["failed"] * 3
    assert all("is unavailable" in outcome.detail for outcome in down.outcomes)
    assert time.monotonic() - start < 20
    nats_server.up()
    assert len(deliver(on_nats, policy=FAST).with_status("delivered")) == 3
    assert len(nats_server.messages()) == 5
    with open_warehouse(on_nats) as connection:
        assert counts(connection) == {"report_bus": {"delivered": 5}}


def test_a_bus_without_the_stream_says_what_is_missing(on_nats, put_events, reports):
    put_events(on_nats, reports(1))
    elsewhere = replace(on_nats.nats, publish_subject="somewhere.else")
    (outcome,) = deliver(replace(on_nats, nats=elsewhere), policy=FAST).outcomes
    assert outcome.status == "failed"
    assert outcome.detail == "no JetStream stream takes somewhere.else: add the subject to OPERATIONS_REPORTS"


def test_a_message_larger_than_the_server_takes_is_a_dead_letter(on_nats, put_events, reports):
    (event,) = reports(1)
    put_events(on_nats, [event._replace(payload={"text": "x" * 1_100_000})])
    (outcome,) = deliver(on_nats, policy=FAST).outcomes
    assert outcome.status == "dead"
    assert "more than the server takes" in outcome.detail


# snapshots -------------------------------------------------------------------------------------------------


def test_reports_on_the_bus_become_one_snapshot_and_are_read_once(on_nats, nats_server):
    nats_server.publish(payloads(0, 500))
    (snapshot,) = take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert (snapshot.messages, snapshot.lines, snapshot.own) == (500, 500, 0)
    assert snapshot.path is not None and snapshot.path.stat().st_size == snapshot.size
    assert snapshot_lines(on_nats) == payloads(0, 500)
    assert unacknowledged(nats_server) == 0
    assert take_snapshots(on_nats.nats, on_nats.report_bus_dir) == []


def test_our_own_reports_never_come_back_as_input(on_nats, nats_server, put_events, reports):
    put_events(on_nats, reports(2))
    deliver(on_nats)
    nats_server.publish(payloads(0, 3))
    (snapshot,) = take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert (snapshot.messages, snapshot.lines, snapshot.own) == (5, 3, 2)
    assert snapshot_lines(on_nats) == payloads(0, 3)


def test_a_batch_of_nothing_but_our_own_reports_writes_no_file(on_nats, nats_server, put_events, reports):
    put_events(on_nats, reports(2))
    deliver(on_nats)
    (snapshot,) = take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert snapshot == (None, 2, 0, 2, 0)
    assert unacknowledged(nats_server) == 0


@pytest.mark.parametrize(
    ("limits", "files"), [(Limits(messages=100), 3), (Limits(size=1), 2), (Limits(seconds=0), 2)]
)
def test_snapshots_are_bounded_by_count_bytes_and_time(on_nats, nats_server, limits, files):
    nats_server.publish(payloads(0, 300))
    taken = take_snapshots(on_nats.nats, on_nats.report_bus_dir, limits)
    assert len(taken) == files
    assert snapshot_lines(on_nats) == payloads(0, 300)


def _dies(settings: Settings, where: str) -> None:
    """Takes snapshots in a process that is killed at a named moment."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "before the file":
        bus_snapshot.write_snapshot = die
    elif where == "before the rename":
        Path.replace = die
    else:
        die_after = {"before the first acknowledgement": 0, "between acknowledgements": 7}[where]
        genuine, count = bus_snapshot.Msg.ack, [0]

        async def ack(message):
            if count[0] == die_after:
                await message._client.flush()
                die()
            count[0] += 1
            await genuine(message)

        bus_snapshot.Msg.ack = ack
    take_snapshots(settings.nats, settings.report_bus_dir)


@pytest.mark.parametrize(
    ("where", "written_before"),
    [
        ("before the file", 0),
        ("before the rename", 0),
        ("before the first acknowledgement", 20),
        ("between acknowledgements", 20),
    ],
)
def test_a_killed_consumer_loses_nothing_and_invents_nothing(
    on_nats, nats_server, monkeypatch, where, written_before
):
    monkeypatch.setattr(bus_snapshot, "ACK_WAIT_S", 1.0)
    nats_server.publish(payloads(0, 20))
    process = multiprocessing.get_context("fork").Process(target=_dies, args=(on_nats, where))
    process.start()
    process.join(timeout=30)
    assert process.exitcode == -signal.SIGKILL
    assert len(snapshot_lines(on_nats)) == written_before

    deadline = time.monotonic() + 20
    while unacknowledged(nats_server) and time.monotonic() < deadline:
        take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert unacknowledged(nats_server) == 0
    lines = snapshot_lines(on_nats)
    assert set(lines) == set(payloads(0, 20))
    again = {"between acknowledgements": 13}.get(where, written_before)
    assert len(lines) in (20, 20 + again)


def test_a_bus_taken_down_and_up_again_goes_on_where_it_stood(on_nats, nats_server):
    nats_server.publish(payloads(0, 10))
    take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    nats_server.publish(payloads(10, 20))
    nats_server.down(signal.SIGKILL)
    with pytest.raises(
        UnavailableError, match=r"^NATS at nats://127.0.0.1:\d+ is unavailable: .*Connect call failed"
    ):
        take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    nats_server.up()
    take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert snapshot_lines(on_nats) == payloads(0, 20)


def test_a_missing_stream_and_another_filter_are_told_apart(on_nats, nats_server):
    take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    with pytest.raises(UnavailableError, match="has no stream ELSEWHERE"):
        take_snapshots(replace(on_nats.nats, stream="ELSEWHERE"), on_nats.report_bus_dir)
    with pytest.raises(UnavailableError, match="give ET_NATS_DURABLE another name"):
        take_snapshots(replace(on_nats.nats, subject="operations.>"), on_nats.report_bus_dir)


def test_a_full_disk_acknowledges_nothing(on_nats, nats_server):
    nats_server.publish(payloads(0, 3))
    on_nats.report_bus_dir.parent.mkdir(parents=True, exist_ok=True)
    on_nats.report_bus_dir.write_text("a file where the folder belongs")
    with pytest.raises(OSError):
        take_snapshots(on_nats.nats, on_nats.report_bus_dir)
    assert unacknowledged(nats_server) == 3


@pytest.mark.parametrize(
    ("payload", "lines"),
    [
        (b'{"a": 1}', b'{"a": 1}\n'),
        (b'{"a": 1}\r\n', b'{"a": 1}\n'),
        (b'{\n  "a": 1\n}\n', b'{   "a": 1 }\n'),
        (b'{"a": 1}\n{"a": 2}', b'{"a": 1}\n{"a": 2}\n'),
        (b'{"a": "broken\nstring"}', b'{"a": "broken\nstring"}\n'),
        (b"\xff\xfe\n{", b"\xff\xfe\n{\n"),
        (b"", b""),
        (b"\n\n", b""),
    ],
)
def test_a_message_becomes_lines_without_changing_what_it_says(payload, lines):
    assert as_lines(payload) == lines


# connecting ------------------------------------------------------------------------------------------------


def test_a_server_that_never_speaks_is_given_up_in_time(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError), NatsBus(NatsSettings(url, timeout_s=0.5)).open():
            pass
        assert time.monotonic() - start < 5


@pytest.fixture
def guarded_server(start_nats):
    """A server that lets in only who signs with a key it knows."""
    user = nkeys.from_seed(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    return start_nats(f"authorization {{ users: [ {{ nkey: {user.public_key.decode()} }} ] }}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no credentials",
        "-----BEGIN NATS USER JWT-----\nc2VjcmV0\n",
        "-----BEGIN NATS USER JWT-----\nabc\n------END NATS USER JWT------\n"
        "-----BEGIN USER NKEY SEED-----\nSUc2VjcmV0\n------END USER NKEY SEED------\nSUc2VjcmV0\n",
    ],
)
def test_a_broken_credentials_file_is_told_without_its_content(guarded_server, tmp_path, text):
    creds = tmp_path / "bus.creds"
    creds.write_text(text)
    with (
        pytest.raises(UnavailableError, match=r"^ET_NATS_CREDS: bus.creds|^NATS at nats://") as caught,
        NatsBus(NatsSettings(guarded_server.url, creds_file=creds)).open(),
    ):
        pass
    assert not text or text.splitlines()[-1] not in str(caught.value)


def test_a_server_that_asks_for_credentials_lets_nobody_in_without(guarded_server):
    with (
        pytest.raises(UnavailableError, match=r"(?i)authorization"),
        NatsBus(NatsSettings(guarded_server.url)).open(),
    ):
        pass
