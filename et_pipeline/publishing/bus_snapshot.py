"""Writes snapshots of the report bus on NATS, with a durable consumer; used by `et bus snapshot`.

Reports are written to `report_bus/nats/` as immutable NDJSON files, and acknowledged only after file and folder are
synced. If the process is killed before that, the next one gets the same reports and writes them again; ingest
recognises duplicates by their `report_id`. If it is killed later, the file is complete. So a report may be written
twice, but is never lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from pathlib import Path
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from et_pipeline.common.files import write_atomically
from et_pipeline.governance.stall import NATS, Outage, end_outage, open_outages, record_outage
from et_pipeline.publishing.destinations import UnavailableError
from et_pipeline.publishing.nats_bus import connected, unavailable
from et_pipeline.settings import NatsSettings, Settings, SettingsError
from et_pipeline.warehouse.connection import open_warehouse, transaction

FOLDER = "nats"
"""Folder under `report_bus/` into which the snapshots are written."""
ACK_WAIT_S = 120.0
"""Seconds after which the server sends an unacknowledged report again; much longer than one batch takes."""
_FETCH = 200
_STREAM_NOT_FOUND = 10059


class Limits(NamedTuple):
    """The limits of one snapshot; it is full when the first of them is reached.

    Attributes:
        messages: Number of messages.
        size: Number of bytes; it may be exceeded by the messages of one fetch, which are up to 200.
        seconds: Seconds since its first message.
        idle_s: Seconds without a new message after which the end of the bus counts as reached.
    """

    messages: int = 10_000
    size: int = 32 * 1024 * 1024
    seconds: float = 10.0
    idle_s: float = 0.5


class Snapshot(NamedTuple):
    """One batch taken from the bus.

    Attributes:
        path: The file; None if the batch had nothing to write.
        messages: Messages that were read and acknowledged.
        lines: Lines written; a message may have several.
        own: How many of the messages were sent by this pipeline itself; these are not written.
        size: Bytes written.
    """

    path: Path | None
    messages: int
    lines: int
    own: int
    size: int


def bus_snapshot(settings: Settings, limits: Limits | None = None) -> list[Snapshot]:
    """`et bus snapshot`: reads the bus to its present end, and records the beginning and end of its outages.

    An outage is an open row of `outages`. While there is one, governance pauses sampling and verdicts and emits
    EXPERIMENT_STALLED. The first snapshot after an outage has all messages that were sent meanwhile.

    Args:
        settings: The bus and the folder that ingest reads.
        limits: The limits of one file.

    Raises:
        SettingsError: No bus is configured.
        UnavailableError: The bus cannot be reached; the outage is recorded.
        OSError: A file cannot be written; nothing in it was acknowledged.
    """
    if settings.nats is None:
        raise SettingsError("ET_NATS_URL is not set: there is no bus to read")
    try:
        taken = take_snapshots(settings.nats, settings.report_bus_dir, limits)
    except UnavailableError as error:
        with open_warehouse(settings) as connection, transaction(connection):
            record_outage(connection, NATS, str(error), settings.now())
        note = _outage_note(settings)
        if not note.exists():
            write_atomically(note, f"{error}\n".encode())
        raise
    with open_warehouse(settings) as connection, transaction(connection):
        end_outage(connection, NATS, settings.now())
    _outage_note(settings).unlink(missing_ok=True)
    return taken


def forget_outage(settings: Settings) -> Outage | None:
    """`et bus forget`: ends the open outage of the bus, whether or not the bus can be reached.

    The next reading may open another outage.

    Returns:
        The outage; None if none was open.
    """
    with open_warehouse(settings) as connection, transaction(connection):
        found = next((outage for outage in open_outages(connection) if outage.source == NATS), None)
        end_outage(connection, NATS, settings.now())
    _outage_note(settings).unlink(missing_ok=True)
    return found


def _outage_note(settings: Settings) -> Path:
    """A file that exists beside the snapshots during an outage of the bus; when it appears or disappears, a tick is
    due."""
    return settings.report_bus_dir / FOLDER / "outage.txt"


def take_snapshots(settings: NatsSettings, report_bus: Path, limits: Limits | None = None) -> list[Snapshot]:
    """Reads the bus to its present end into snapshot files.

    Args:
        settings: The bus.
        report_bus: The folder that ingest reads.
        limits: The limits of one file.

    Returns:
        The snapshots that were written, in order; empty if there was nothing new.

    Raises:
        UnavailableError: The bus cannot be reached, its stream is missing, or the connection broke.
            Files written so far are complete and acknowledged.
        OSError: A file cannot be written; nothing in it was acknowledged.
    """
    return asyncio.run(_take_all(settings, report_bus / FOLDER, limits or Limits()))


async def _take_all(settings: NatsSettings, folder: Path, limits: Limits) -> list[Snapshot]:
    taken: list[Snapshot] = []
    async with connected(settings) as client:
        try:
            subscription, waiting = await _subscribe(client, settings)
            # It reads only as many messages as waited at the start, so that it ends even if messages come all the time.
            while sum(snapshot.messages for snapshot in taken) < waiting:
                batch = await _collect(client, settings, subscription, limits)
                if not batch:
                    break
                snapshot = write_snapshot(batch, settings, folder)
                for message in batch:
                    await message.ack()
                await client.flush(timeout=max(1, round(settings.timeout_s)))
                taken.append(snapshot)
        except (NatsError, APIError) as error:
            raise unavailable(settings, error) from error
    return taken


async def _subscribe(client: Client, settings: NatsSettings) -> tuple[JetStreamContext.PullSubscription, int]:
    """The durable consumer, which is created on first use, and the number of messages that wait for it."""
    jetstream = client.jetstream(timeout=settings.timeout_s)
    try:
        info = await jetstream.consumer_info(settings.stream, settings.durable)
    except NotFoundError as missing:
        if missing.err_code == _STREAM_NOT_FOUND:
            raise UnavailableError(f"NATS at {settings.url} has no stream {settings.stream}") from missing
        info = await jetstream.add_consumer(
            settings.stream,
            ConsumerConfig(
                durable_name=settings.durable,
                description="ExperimentTracker: reports that became snapshots",
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_S,
                max_ack_pending=-1,
                filter_subject=settings.subject,
            ),
        )
    if info.config.filter_subject != settings.subject:
        raise UnavailableError(
            f"the consumer {settings.durable} of {settings.stream} reads {info.config.filter_subject!r}, not "
            f"{settings.subject!r}: give ET_NATS_DURABLE another name, or delete that consumer"
        )
    subscription = await jetstream.pull_subscribe_bind(durable=settings.durable, stream=settings.stream)
    return subscription, (info.num_pending or 0) + (info.num_ack_pending or 0)


async def _collect(
    client: Client, settings: NatsSettings, subscription: JetStreamContext.PullSubscription, limits: Limits
) -> list[Msg]:
    batch: list[Msg] = []
    size, full_at = 0, float("inf")
    while len(batch) < limits.messages and size < limits.size and time.monotonic() < full_at:
        try:
            new = await subscription.fetch(min(_FETCH, limits.messages - len(batch)), timeout=limits.idle_s)
        except TimeoutError:
            break
        if not batch:
            full_at = time.monotonic() + limits.seconds
        batch += new
        size += sum(len(message.data) for message in new)
    if not client.is_connected:
        # Without this check, a broken connection would look like the end of the bus.
        raise UnavailableError(f"the connection to NATS at {settings.url} broke while reading")
    return batch


def write_snapshot(batch: list[Msg], settings: NatsSettings, folder: Path) -> Snapshot:
    """Writes a batch as one immutable file, in the order of the stream; the same batch gives the same file.

    Raises:
        OSError: The file cannot be written.
    """
    theirs = [message for message in batch if message.subject != settings.publish_subject]
    theirs.sort(key=_sequence)
    data = b"".join(as_lines(message.data) for message in theirs)
    path = None
    if data:
        first, last = _sequence(theirs[0]), _sequence(theirs[-1])
        digest = hashlib.sha256(data).hexdigest()[:12]
        path = folder / f"{settings.stream}-{first:012d}-{last:012d}-{digest}.ndjson"
        write_atomically(path, data)
    return Snapshot(path, len(batch), data.count(b"\n"), len(batch) - len(theirs), len(data))


def as_lines(payload: bytes) -> bytes:
    """A message as lines of NDJSON: a document on several lines is put on one line, anything else is not changed.

    A message that is not one JSON document (several documents, or damaged ones) keeps its lines, and ingest checks
    each of them. If they were joined, an invalid line could become a valid one.
    """
    payload = payload.strip(b"\r\n")
    if b"\n" in payload and _is_document(payload):
        payload = payload.replace(b"\r", b" ").replace(b"\n", b" ")
    return payload + b"\n" if payload else b""


def _is_document(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def _sequence(message: Msg) -> int:
    return int(message.metadata.sequence.stream)
