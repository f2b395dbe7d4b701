"""Events in a warehouse of their own, in the form in which the governance stage writes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sysconfig
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from nats.js import JetStreamContext

from et_pipeline.contracts.messages import (
    DriftSignal,
    Event,
    event_id,
    promotion_review_event,
    reason_code_event,
)
from et_pipeline.contracts.reason_codes import RESULT, STARTED
from et_pipeline.settings import NatsSettings, Settings
from et_pipeline.warehouse.connection import open_warehouse, transaction
from et_pipeline_tests.migrated import put_warehouse
from et_pipeline_tests.registry import Registry, serving

T = TypeVar("T")
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
PLAN_HASH = "c0ffee" * 8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data_dir=tmp_path / "data", lock_timeout_s=20)
    put_warehouse(found)
    return found


@pytest.fixture
def put_events() -> Callable[[Settings, Sequence[Event]], list[str]]:
    def put(settings: Settings, events: Sequence[Event]) -> list[str]:
        with open_warehouse(settings) as connection, transaction(connection):
            start = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
            for seq, event in enumerate(events, start + 1):
                connection.execute(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [*event[:6], event.emitted_at.replace(tzinfo=None), json.dumps(event.payload), seq],
                )
        return [event.event_id for event in events]

    return put


@pytest.fixture
def reports() -> Callable[[int], list[Event]]:
    """So many EXPERIMENT_STARTED, each of its own experiment."""

    def make(count: int) -> list[Event]:
        return [
            reason_code_event(
                STARTED,
                experiment_id=f"exp-{number}",
                strategy_id="strat.a",
                plan_hash=PLAN_HASH,
                period="",
                message=f"Experiment exp-{number} was registered: “quotes”, ½ tick wider.",
                emitted_at=NOW + timedelta(seconds=number),
                payload={"number": number},
            )
            for number in range(count)
        ]

    return make


@pytest.fixture
def signals() -> Callable[[int], list[Event]]:
    """So many drift signals, each of its own experiment."""

    def make(count: int) -> list[Event]:
        return [
            DriftSignal(
                event_id(f"exp-{number}", "drift_signal", PLAN_HASH, "edge_bps"),
                f"exp-{number}",
                "strat.a",
                "strat.b",
                "edge_bps",
                "interval",
                -2.5,
                -4.0,
                -1.0,
                500,
                40.0,
                80.0,
                None,
                PLAN_HASH,
                "beef" * 16,
                NOW,
            ).event(f"Variant of exp-{number} underperforms.")
            for number in range(count)
        ]

    return make


@pytest.fixture
def result_and_review() -> list[Event]:
    """A concluded experiment: its result and the request for a review."""
    return [
        reason_code_event(
            RESULT,
            experiment_id="exp-0",
            strategy_id="strat.a",
            plan_hash=PLAN_HASH,
            period="verdict",
            message="The variant is better.",
            emitted_at=NOW,
            payload={"verdict": "variant_better"},
        ),
        promotion_review_event(
            experiment_id="exp-0",
            plan_hash=PLAN_HASH,
            evidence_hash="beef" * 16,
            approvers=1,
            message="Please review exp-0.",
            emitted_at=NOW,
        ),
    ]


class NatsServer:
    """A real NATS server with JetStream that can be taken down and up again, its streams kept on disk."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self._config = folder / "nats.conf"
        self._config.write_text(
            f'host: 127.0.0.1\nport: {self.port}\njetstream {{ store_dir: "{folder / "js"}" }}\n{config}'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([binary, "-c", self._config], stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"nats-server did not start: {(self._folder / 'nats.log').read_text()}")

    def down(self, signal_number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(timeout=20)
            self._process = None

    def run(self, action: Callable[[JetStreamContext], Awaitable[T]], **options: Any) -> T:
        """Runs something against JetStream, as another program on the bus would."""

        async def connected() -> T:
            async with await nats.connect(self.url, **options) as client:
                return await action(client.jetstream())

        return asyncio.run(connected())

    def add_stream(self, *subjects: str, **config: Any) -> None:
        self.run(lambda js: js.add_stream(name="OPERATIONS_REPORTS", subjects=list(subjects), **config))

    def publish(self, payloads: Sequence[bytes], subject: str = "operations.reports.backtester") -> None:
        async def all_of_them(jetstream: JetStreamContext) -> None:
            for payload in payloads:
                await jetstream.publish(subject, payload)

        self.run(all_of_them)

    def messages(self) -> list[tuple[str, dict[str, str], bytes]]:
        """Everything the stream holds, in order."""

        async def read(jetstream: JetStreamContext) -> list[tuple[str, dict[str, str], bytes]]:
            info = await jetstream.stream_info("OPERATIONS_REPORTS")
            found = []
            for seq in range(info.state.first_seq, info.state.last_seq + 1):
                message = await jetstream.get_msg("OPERATIONS_REPORTS", seq)
                found.append((message.subject, message.headers or {}, message.data))
            return found

        return self.run(read)


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[Callable[[str], NatsServer]]:
    """Starts servers, with more lines for their configuration; all end with the test."""
    servers: list[NatsServer] = []

    def start(config: str = "") -> NatsServer:
        folder = tmp_path / f"nats-{len(servers)}"
        folder.mkdir()
        servers.append(NatsServer(folder, config))
        servers[-1].up()
        return servers[-1]

    yield start
    for server in servers:
        server.down()


@pytest.fixture
def nats_server(start_nats: Callable[[str], NatsServer]) -> NatsServer:
    """A running server with the stream that the settings name by default."""
    server = start_nats("")
    server.add_stream("operations.reports.>")
    return server


@pytest.fixture
def on_nats(settings: Settings, nats_server: NatsServer) -> Settings:
    """Settings with the report bus on that server."""
    return replace(settings, nats=NatsSettings(nats_server.url, timeout_s=2))


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as server:
        yield server


@pytest.fixture
def serve() -> Callable[[ssl.SSLContext | None], contextlib.AbstractContextManager[Registry]]:
    """Another server, perhaps with TLS."""
    return serving
