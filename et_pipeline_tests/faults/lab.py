"""A data folder in three stages, undisturbed runs of it, and what has to be the same after any crash."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import duckdb

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline_tests.conftest import PROJECT

PLAN = """\
experiment_id: {name}
title: Crash test
hypothesis: What is known after a crash is what would be known without it.
owner: desk
mode: shadow
control: {{strategy_id: strat.{name}, config_version: "1"}}
variant: {{strategy_id: strat.{name}, config_version: "2"}}
planned_pairs: 600
starts_at: 2026-10-01T00:00:00Z
ends_at: 2026-10-15T00:00:00Z
metrics:
  - {{name: edge_bps, role: primary, equivalence_margin: 0.5}}
promotion: {{request_review: true, approvers: 1}}
"""
STAGES = ("first reports", "verdicts", "late reports and a sign-off")
"""What a data folder goes through; each stage is one tick."""
CLOCK = ("2026-10-06T12:00:00Z", "2026-10-20T00:00:00Z", "2026-10-21T09:00:00Z")
FILES = 6
_RUN_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=Dagster run )[0-9a-f]{8}")


class KilledError(AssertionError):
    """What was found after a crash is not what it should be."""


class Run(NamedTuple):
    """How one run of a command ended.

    Attributes:
        status: Its exit status, negative for the signal that ended it.
        reached: The moments it reached, the last one where it died.
        output: What it printed.
    """

    status: int
    reached: list[str]
    output: str

    @property
    def killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.status == -signal.SIGKILL


class Nursery:
    """The process that forks commands, see `nursery.py`; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {**clean_environment(), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "et_pipeline_tests.faults.nursery"],
            cwd=PROJECT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._answer()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def et(
        self,
        *arguments: str,
        environment: dict[str, str],
        die_at: Blow | None = None,
        kill_after_s: float | None = None,
        sabotage: str | None = None,
    ) -> Run:
        """Runs one command in a forked process.

        Args:
            arguments: Of `et`.
            environment: Its `ET_*` variables.
            die_at: The moment to die at.
            kill_after_s: Kill it after so long, wherever it is.
            sabotage: A mistake to make in it, see `sabotage.py`.
        """
        trace, output = self._folder / "trace", self._folder / "output"
        trace.unlink(missing_ok=True)
        assert self._process.stdin is not None
        request = {
            "arguments": arguments,
            "environment": {**clean_environment(), **environment},
            "die_at": die_at or Blow("", 0),
            "kill_after_s": kill_after_s,
            "sabotage": sabotage,
            "trace": str(trace),
            "output": str(output),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = self._answer()["status"]
        reached = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
        return Run(status, reached, output.read_text(encoding="utf-8", errors="replace"))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery ended with status {self._process.wait()}")
        return dict(json.loads(line))


def clean_environment() -> dict[str, str]:
    """The environment without settings of the pipeline."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ET_") and name != "DAGSTER_HOME"
    }


def et_killed(settings: dict[str, str], after_s: float) -> Run:
    """The real `python -m et_pipeline tick`, killed with its process group after so long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "tick"],
        cwd=PROJECT, env={**clean_environment(), **settings},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return Run(process.wait(), [], "")


def environment(data: Path, stage: int, registry: str) -> dict[str, str]:
    """The settings of a stage's tick."""
    return {
        "ET_DATA_DIR": str(data),
        "ET_NOW": CLOCK[stage],
        "ET_REGISTRY_URL": registry,
        "ET_LOCK_TIMEOUT": "20",
    }


QUIET_DAGSTER = """
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
"""Dagster captures what each step prints with four helper processes: most of the time of a tick this small."""


def set_up(data: Path) -> None:
    """The plans, and keys for whoever signs; the folders that people make; an empty Dagster home."""
    for name in ("experiments", "report_bus", "sign_offs"):
        (data / name).mkdir(parents=True)
    for plan, text in _plans():
        (data / "experiments" / f"{plan.experiment_id}.yaml").write_text(text, encoding="utf-8")
    home = data / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text(encoding="utf-8") + QUIET_DAGSTER)
    with dg.DagsterInstance.from_config(str(home)):
        pass  # its databases are made
    key = _key(data)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    (data / "allowed_signers").write_text(f"alice {public}", encoding="utf-8")


def bring_inputs(data: Path, stage: int) -> None:
    """What a stage's tick finds new."""
    bus = data / "report_bus"
    better, worse = (plan for plan, _ in _plans())
    early, late = range(2), range(2, FILES)
    facts = {"late_share": 0.1, "duplicate_share": 0.05, "superseded_share": 0.05}
    scenarios = [
        _scenario(better, uplift={"edge_bps": 8.0}, **facts),
        _scenario(worse, uplift={"edge_bps": -8.0}, **facts),
    ]
    if stage < 2:
        chosen = (early, late)[stage]
        write_snapshots(scenarios, bus, seed=3, files=FILES, broken=1, skipped=8, only=chosen)
        return
    write_snapshots([_scenario(worse, uplift={"edge_bps": -8.0}, opportunities=200)], bus / "late", seed=4)
    _sign(data, better)


def _plans() -> list[tuple[Plan, str]]:
    found = []
    for name in ("better", "worse"):
        text = PLAN.format(name=name)
        plan = parse_plan(text.encode(), name)
        assert isinstance(plan, Plan)
        found.append((plan, text))
    return found


def _scenario(plan: Plan, opportunities: int = 600, **facts: Any) -> Scenario:
    return Scenario(
        experiment_id=plan.experiment_id,
        control_strategy_id=plan.control.strategy_id,
        variant_strategy_id=plan.variant.strategy_id,
        starts_at=plan.starts_at,
        ends_at=plan.ends_at,
        opportunities=opportunities,
        markets=40,
        **facts,
    )


def _key(data: Path) -> Path:
    return data.with_name(f"{data.name}-alice")


def _sign(data: Path, plan: Plan) -> None:
    """Alice approves the promotion of an experiment, by the evidence that was announced."""
    from datetime import datetime

    from et_pipeline.governance.sign_offs import Document, write_sign_off
    from et_pipeline.resources.settings import Settings

    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        row = connection.execute(
            "SELECT evidence_hash FROM verdicts WHERE experiment_id = ? AND state = 'promotion_review'",
            [plan.experiment_id],
        ).fetchone()
    assert row is not None, f"{plan.experiment_id} waits for no review"
    document = Document(
        experiment_id=plan.experiment_id,
        plan_hash=plan.plan_hash,
        evidence_hash=row[0],
        purpose="promotion",
        decision="approve",
        reason="Seen.",
        signer="alice",
        signed_at=datetime.fromisoformat(CLOCK[2]),
    )
    write_sign_off(Settings(data_dir=data), document, _key(data))


@dataclass
class Registry:
    """What a StrategyRegistry was sent: by idempotency key the bodies."""

    url: str
    bodies: dict[str, set[bytes]] = field(default_factory=dict)


@contextmanager
def registry() -> Iterator[Registry]:
    """A real HTTP server that takes drift signals."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.bodies.setdefault(self.headers["Idempotency-Key"], set()).add(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that was killed

    server = Server(("127.0.0.1", 0), Handler)
    found = Registry(f"http://localhost:{server.server_port}/signals")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Reference:
    """Undisturbed runs: the data folder before each stage's tick, and what the tick made of it.

    Attributes:
        before: Per stage the folder as its tick finds it.
        after: Per stage what is known after it.
        moments: Per stage the moments its tick reaches.
        signals: Per stage the registry's messages up to then.
        seconds: Per stage how long its tick took.
    """

    before: list[Path] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    moments: list[list[str]] = field(default_factory=list)
    signals: list[dict[str, set[bytes]]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def undisturbed(nursery: Nursery, folder: Path) -> Reference:
    """Runs every stage once without a crash."""
    reference = Reference()
    data = folder / "undisturbed"
    set_up(data)
    with registry() as there:
        for stage in range(len(STAGES)):
            bring_inputs(data, stage)
            reference.before.append(copy(data, folder / f"before-{stage}"))
            started = time.monotonic()
            run = nursery.et("tick", environment=environment(data, stage, there.url))
            reference.seconds.append(time.monotonic() - started)
            if run.status:
                raise RuntimeError(f"the undisturbed tick of stage {stage} failed: {run.output}")
            reference.moments.append(run.reached)
            reference.after.append(known(data))
            reference.signals.append({key: set(bodies) for key, bodies in there.bodies.items()})
    return reference


def copy(source: Path, target: Path) -> Path:
    """A copy of a data folder, with the times of its files: they are part of what a tick looks at."""
    return Path(shutil.copytree(source, target, symlinks=True))


def known(data: Path) -> dict[str, Any]:
    """Everything that has to be the same after any crash, part by part.

    What tells of the runs themselves is left out: run ids, when a message was sent and how often, when the
    schema was made.
    """
    found: dict[str, Any] = {}
    with duckdb.connect(str(data / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        for (table,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE NOT internal ORDER BY 1"
        ).fetchall():
            found[f"table {table}"] = connection.execute(
                _QUERIES.get(table, f"FROM {table} ORDER BY ALL")
            ).fetchall()
    found["published copy"] = _same_rows(data)
    for folder in ("outbox", "published/pages"):
        for path in sorted((data / folder).glob("*.*")):
            text = _RUN_ID.sub(b"", path.read_bytes())
            found[f"file {folder}/{path.name}"] = b"" if path.name.startswith(".") else text
    found["files"] = sorted(
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and path.relative_to(data).parts[0] not in ("dagster", "logs")
    )
    return found


_QUERIES = {
    "schema_version": "SELECT version FROM schema_version ORDER BY 1",
    "deliveries": "SELECT event_id, destination, status FROM deliveries WHERE status = 'delivered' ORDER BY ALL",
}


def _same_rows(data: Path) -> str:
    """Whether analysts see what the warehouse holds, byte for byte."""
    warehouse, published = data / "warehouse" / "warehouse.duckdb", data / "published" / "experiments.duckdb"
    return "the warehouse" if warehouse.read_bytes() == published.read_bytes() else "another state"


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of the parts that are not the same, with the first rows of each."""
    return [
        f"{name}: {_first(expected.get(name), found.get(name))}"
        for name in sorted(set(expected) | set(found))
        if expected.get(name) != found.get(name)
    ]


def _first(expected: Any, found: Any) -> str:
    if isinstance(expected, list) and isinstance(found, list):
        missing = [row for row in expected if row not in found]
        new = [row for row in found if row not in expected]
        return f"{len(missing)} missing, {len(new)} new; missing {missing[:2]}, new {new[:2]}"
    if isinstance(expected, bytes) and isinstance(found, bytes):
        lines = difflib.unified_diff(
            expected.decode().splitlines(), found.decode().splitlines(), n=0, lineterm=""
        )
        return "\n  " + "\n  ".join(line[:300] for line in list(lines)[2:8])
    return f"expected {str(expected)[:300]}, found {str(found)[:300]}"


def check_after_a_kill(data: Path, folder: Path, there: Registry) -> None:
    """What must hold at any moment, before anything is repaired.

    No message left that the warehouse does not know, with its very bytes; and analysts can read what is
    published.

    Raises:
        KilledError: It does not hold.
    """
    published = data / "published" / "experiments.duckdb"
    if published.exists():
        with duckdb.connect(str(published), read_only=True) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                connection.execute(f"SELECT count(*), count(COLUMNS(*)) FROM {table}").fetchall()
    sent = {path.stem: path.read_bytes().removesuffix(b"\n") for path in (data / "outbox").glob("*.json")}
    events = committed_events(data, folder)
    for identifier, body in [
        *sent.items(),
        *((key, body) for key, bodies in there.bodies.items() for body in bodies),
    ]:
        if events.get(identifier) != body:
            raise KilledError(
                f"message {identifier} was sent, but the warehouse "
                f"{'holds other bytes' if identifier in events else 'knows of no such event'}"
            )


def committed_events(data: Path, folder: Path) -> dict[str, bytes]:
    """The events that are committed, read from a copy: looking must not repair anything."""
    warehouse = data / "warehouse" / "warehouse.duckdb"
    if not warehouse.exists():
        return {}
    scratch = folder / "looked-at"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in (warehouse, warehouse.with_name(f"{warehouse.name}.wal")):
        if path.exists():
            shutil.copyfile(path, scratch / path.name)
    with duckdb.connect(str(scratch / warehouse.name)) as connection:
        tables = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'events'").fetchall()
        if not tables:
            return {}
        return {
            identifier: payload.encode()
            for identifier, payload in connection.execute("SELECT event_id, payload FROM events").fetchall()
        }


class Blow(NamedTuple):
    """A kill that is wanted.

    Attributes:
        moment: The moment to die at, see `points.py`; `AT_RANDOM` or `FROM_ITS_START` for any.
        occurrence: The how-manieth of those moments.
        delay_s: How long after it, where it begins something that takes time; how long after the start, for
            any moment.
    """

    moment: str
    occurrence: int = 1
    delay_s: float = 0.0


AT_RANDOM = "at random"
"""A forked tick, killed after some time."""
FROM_ITS_START = "at random, a process started by hand"
"""A tick as a person starts it, killed after some time, perhaps while it still imports."""


class Kill(NamedTuple):
    """One kill that happened.

    Attributes:
        stage: The stage whose tick it was.
        blow: Where it died.
        nth: Which kill of its chain: 2 and above hit a recovery.
    """

    stage: int
    blow: Blow
    nth: int


def chain(
    nursery: Nursery,
    reference: Reference,
    folder: Path,
    stage: int,
    blows: Sequence[Blow],
    sabotage: str | None = None,
) -> list[Kill]:
    """A stage's tick and its recoveries, killed one after the other; then one that nobody kills.

    Returns:
        The kills that happened: a recovery may end before it reaches the moment it was to die at.

    Raises:
        KilledError: Something was lost, invented, left half done, or does not go on.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    data = copy(reference.before[stage], folder / "data")
    kills: list[Kill] = []
    with registry() as there:
        if stage:
            there.bodies.update({key: set(bodies) for key, bodies in reference.signals[stage - 1].items()})
        settings = environment(data, stage, there.url)
        for blow in blows:
            run = _strike(nursery, settings, blow, sabotage)
            if run.killed:
                kills.append(Kill(stage, blow, len(kills) + 1))
            try:
                if run.status and not run.killed:
                    raise KilledError(f"a tick failed: {run.output}")
                check_after_a_kill(data, folder, there)
            except (KilledError, duckdb.Error, OSError) as error:
                raise KilledError(f"after {kills}: {error}") from error
        last = nursery.et("tick", environment=settings)
        if last.status:
            raise KilledError(f"after {kills} a tick failed: {last.output}")
        wrong = differences(reference.after[stage], known(data))
        if there.bodies != reference.signals[stage]:
            wrong.append(f"the registry was sent {sorted(there.bodies)}")
        if wrong:
            raise KilledError(f"after {kills} it is not as without a crash:\n" + "\n".join(wrong))
    return kills


def _strike(nursery: Nursery, settings: dict[str, str], blow: Blow, sabotage: str | None) -> Run:
    if blow.moment == FROM_ITS_START:
        return et_killed(settings, blow.delay_s)
    if blow.moment == AT_RANDOM:
        return nursery.et("tick", environment=settings, kill_after_s=blow.delay_s, sabotage=sabotage)
    return nursery.et("tick", environment=settings, die_at=blow, sabotage=sabotage)
