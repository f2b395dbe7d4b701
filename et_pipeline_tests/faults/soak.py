"""The soak: simulated weeks of small ticks in one long-lived process, with everything that goes wrong in weeks.

`make soak` runs it for an hour. At its end it holds memory, time and file sizes against bounds, compares the
warehouse with one rebuilt from the snapshots and with what the generator knows to be true, and prints the
table that stands in `docs/reliability.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
from scipy.stats import theilslopes

from et_pipeline.commands.run_tick import tick
from et_pipeline.commands.terminal import CommandError
from et_pipeline.publishing.outbox import pending
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import run_et
from et_pipeline_tests.faults.soak_world import START, WEEK, World
from et_pipeline_tests.registry import Registry, serving

STEP = timedelta(hours=8)
"""Simulated time between two ticks."""
BY_COMMAND = 15
"""One tick in so many runs as `et tick`, a process of its own; the others share one process."""
UNDELIVERED = "could not be delivered"
SIGN_AFTER = timedelta(hours=9)
"""How long humans take to sign what waits for them."""
WARM_UP = 0.25
"""Share of the ticks after which memory and time have to be flat."""

RSS_GROWTH = 30.0
"""MiB that the process may grow by after the warm-up."""
TIME_GROWTH = 0.35
"""Share of the median tick's CPU time that a tick may grow by after the warm-up."""
FILE_FACTOR = 1.5
FILE_SLACK = 4 * 1024 * 1024
"""The warehouse may be `FILE_FACTOR` times as large as a fresh copy of its tables, and this much more."""


class Tick(NamedTuple):
    """One tick and what was seen after it.

    Attributes:
        number: Its number, from 0.
        now: The simulated moment.
        by_command: Whether it ran as a process of its own.
        ran: Whether anything was due.
        seconds: Its wall time.
        cpu: CPU seconds of this process in it.
        yardstick: CPU seconds of the same work each time, just after it: a busy machine slows both.
        rss: Resident memory of this process after it, MiB.
        warehouse: Size of the warehouse, bytes.
        published: Size of the analysts' copy, bytes.
        free: Share of the warehouse's blocks that hold nothing.
        rows: Reports stored.
        failed: Checks that did not pass.
    """

    number: int
    now: str
    by_command: bool
    ran: bool
    seconds: float
    cpu: float
    yardstick: float
    rss: float
    warehouse: int
    published: int
    free: float
    rows: int
    failed: list[str]


class Finding(NamedTuple):
    """One thing that is held against a bound.

    Attributes:
        what: What is measured.
        found: The figure, for people.
        allowed: The bound, for people.
        holds: Whether it is kept.
    """

    what: str
    found: str
    allowed: str
    holds: bool


class Soak:
    """A world, the ticks over it, and what they left."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.world = World(folder, registry)
        self.ticks: list[Tick] = []
        self.now = START
        self._waits_since: dict[str, datetime] = {}
        self._environment = {
            "ET_DATA_DIR": str(self.world.data),
            "ET_MODE": "limited_live",
            "ET_STALL_AFTER": "6h",
            "ET_REGISTRY_URL": registry.url,
        }
        self._key = _make_key(folder / "reviewer")
        self._stranger = _make_key(folder / "stranger")
        public = self._key.with_suffix(".pub").read_text()
        self.settings_now().allowed_signers_path.write_text(f"reviewer@desk {public}")

    def settings_now(self) -> Settings:
        """The settings at the simulated moment, which the jobs read from the environment too."""
        os.environ.update(self._environment, ET_NOW=self.now.isoformat())
        return Settings.from_env()

    def run(self, seconds: float) -> None:
        """Ticks until the time is over, then ends the outages and lets everything come to rest."""
        until = time.monotonic() + seconds
        with (self.folder / "ticks.ndjson").open("a") as log:
            while time.monotonic() < until:
                self.now += STEP
                self.world.move_on(self.now)
                self._tick(by_command=len(self.ticks) % BY_COMMAND == BY_COMMAND - 1)
                self._sign()
                log.write(json.dumps(self.ticks[-1]._asdict()) + "\n")
                log.flush()
        self.world.end_outages()
        for _ in range(3):
            self.now += timedelta(hours=3)
            tick(self.settings_now(), force=True)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """An `et` command at the simulated moment."""
        self.settings_now()
        return run_et(self.world.data, *arguments, **self._environment, ET_NOW=self.now.isoformat())

    def _tick(self, *, by_command: bool) -> None:
        started, cpu = time.monotonic(), time.process_time()
        try:
            ran, failed = self._by_command() if by_command else tick(self.settings_now())[::3]
        except CommandError as error:
            # What a down registry is expected to do to the tick that has a signal for it; the signal stays.
            if UNDELIVERED not in str(error) or not self.world.registry.down:
                raise
            ran, failed = True, [UNDELIVERED]
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        settings = self.settings_now()
        free, rows = _stored(settings.analyst_path)
        self.ticks.append(
            Tick(
                len(self.ticks),
                self.now.isoformat(),
                by_command,
                ran,
                round(seconds, 3),
                round(cpu, 3),
                round(_yardstick(), 4),
                round(_rss(), 1),
                settings.warehouse_path.stat().st_size,
                settings.analyst_path.stat().st_size,
                round(free, 3),
                rows,
                [name.partition(":")[0] for name in failed],
            )
        )

    def _by_command(self) -> tuple[bool, list[str]]:
        done = self.command("tick", "--json")
        if done.returncode:
            raise CommandError(done.stderr)
        outcome = json.loads(done.stdout)
        return outcome["due"], outcome["failed_checks"]

    def _sign(self) -> None:
        """Signs, as a person does, what has been waiting long enough; a stranger signs first, in vain."""
        with duckdb.connect(str(self.settings_now().analyst_path), read_only=True) as connection:
            waiting = connection.execute(
                "SELECT experiment_id FROM verdicts WHERE state IN ('awaiting_sign_off', 'promotion_review')"
            ).fetchall()
        for (experiment,) in waiting:
            since = self._waits_since.setdefault(experiment, self.now)
            if self.now - since < SIGN_AFTER:
                continue
            del self._waits_since[experiment]
            for signer, key in (("stranger", self._stranger), ("reviewer@desk", self._key)):
                signed = self.command(
                    "sign-off",
                    experiment,
                    "approve",
                    "--signer",
                    signer,
                    "--key",
                    str(key),
                    "--reason",
                    "Seen.",
                )
                assert signed.returncode == 0, signed.stderr

    # What is held at the end

    def findings(self) -> list[Finding]:
        """Every figure against its bound."""
        return [*self._flat(), *self._sizes(), *self._truth(), *self._commands()]

    def _flat(self) -> Iterator[Finding]:
        late = [item for item in self.ticks[int(len(self.ticks) * WARM_UP) :] if not item.by_command]
        busy = [item for item in late if item.ran]
        growth = _growth([item.rss for item in late])
        yield Finding(
            "memory of the process, growth after the warm-up",
            f"{growth:+.1f} MiB ({late[0].rss:.0f} to {late[-1].rss:.0f} MiB)",
            f"at most {RSS_GROWTH:.0f} MiB",
            growth <= RSS_GROWTH,
        )
        middle = statistics.median(item.cpu / item.yardstick for item in busy)
        slower = _growth([item.cpu / item.yardstick for item in busy]) / middle
        yield Finding(
            "CPU time of a tick against the yardstick, growth after the warm-up",
            f"{slower:+.0%} of the median {middle:.0f}",
            f"at most {TIME_GROWTH:.0%}",
            slower <= TIME_GROWTH,
        )

    def _sizes(self) -> Iterator[Finding]:
        settings = self.settings_now()
        fresh = _fresh_size(settings.warehouse_path, self.folder / "fresh.duckdb")
        size = settings.warehouse_path.stat().st_size
        yield Finding(
            "warehouse against a fresh copy of its tables",
            f"{size / 2**20:.1f} MiB against {fresh / 2**20:.1f} MiB",
            f"at most {FILE_FACTOR} times and {FILE_SLACK // 2**20} MiB",
            size <= FILE_FACTOR * fresh + FILE_SLACK,
        )

    def _truth(self) -> Iterator[Finding]:
        settings = self.settings_now()
        weeks = self.world.complete_weeks(self.now)
        wrong = []
        with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
            pairs = dict(
                connection.execute("SELECT experiment_id, count(*) FROM pairs GROUP BY ALL").fetchall()
            )
            [(unbalanced,)] = connection.execute(
                "SELECT count(*) FROM snapshots WHERE lines <> reports + duplicates + skipped + quarantined"
            ).fetchall()
            [(signals,)] = connection.execute(
                "SELECT count(*) FROM events WHERE kind = 'drift_signal'"
            ).fetchall()
            waiting = len(pending(connection))
        for week in weeks:
            for experiment, truth in self.world.truths[week].items():
                expected = truth["pairs"]
                if expected is not None and pairs.get(experiment, 0) != expected:
                    wrong.append(f"{experiment}: {pairs.get(experiment, 0)} pairs, {expected} in truth")
        yield Finding(
            "pairs of the shadow experiments against the generator's truth",
            "; ".join(wrong) or f"equal in all {len(weeks)} weeks that ended",
            "equal",
            not wrong,
        )
        yield Finding("snapshots whose accounting is not balanced", str(unbalanced), "0", unbalanced == 0)
        received = [key for key, _ in self.world.registry.taken]
        yield Finding(
            "drift signals at the registry, each once",
            f"{len(set(received))} different of {signals}, {len(received)} requests, {waiting} undelivered",
            "all, once, none undelivered",
            len(received) == len(set(received)) == signals and waiting == 0,
        )

    def _commands(self) -> Iterator[Finding]:
        for arguments in (("rebuild", "--check", "--json"), ("audit", "verify", "--json")):
            done = self.command(*arguments)
            said = " ".join((done.stdout + done.stderr).split())
            yield Finding(
                f"et {' '.join(arguments[:2])}",
                "clean" if done.returncode == 0 else said[-2_000:],
                "clean",
                done.returncode == 0,
            )


def summary(ticks: Sequence[Tick]) -> str:
    """The table by simulated week, in Markdown."""
    lines = [
        "| week | ticks | median s | CPU s | RSS MiB | warehouse MiB | free blocks | copy MiB | reports |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    weeks: dict[int, list[Tick]] = {}
    for item in ticks:
        weeks.setdefault((datetime.fromisoformat(item.now) - START) // WEEK, []).append(item)
    for week, items in weeks.items():
        inside = [item for item in items if not item.by_command and item.ran]
        last = items[-1]
        if inside:
            lines.append(
                f"| {week + 1} | {len(items)} | {statistics.median(item.seconds for item in inside):.2f} "
                f"| {statistics.median(item.cpu for item in inside):.2f} | {last.rss:.0f} "
                f"| {last.warehouse / 2**20:.1f} | {last.free:.0%} | {last.published / 2**20:.1f} | {last.rows:,} |"
            )
    return "\n".join(lines)


def _growth(values: Sequence[float]) -> float:
    """What a robust straight line (Theil and Sen) rises by over all values."""
    if len(values) < 2:
        return 0.0
    thinned = np.asarray(values)[:: max(1, len(values) // 1_000)]
    return float(theilslopes(thinned).slope) * (len(thinned) - 1)


def _yardstick() -> float:
    started = time.process_time()
    sorted({str(number): number * number for number in range(200_000)}.items())
    return time.process_time() - started


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _stored(path: Path) -> tuple[float, int]:
    """Share of free blocks in a copy of the warehouse, and its reports."""
    with duckdb.connect(str(path), read_only=True) as connection:
        [(total, free)] = connection.execute(
            "SELECT total_blocks, free_blocks FROM pragma_database_size()"
        ).fetchall()
        [(rows,)] = connection.execute("SELECT count(*) FROM reports").fetchall()
    return free / max(1, total), rows


def _fresh_size(warehouse: Path, fresh: Path) -> int:
    """How large a file is that holds the same tables and has never held anything else."""
    fresh.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{warehouse}' AS used (READ_ONLY)")
        connection.execute(f"ATTACH '{fresh}' AS fresh")
        connection.execute("COPY FROM DATABASE used TO fresh")
        connection.execute("CHECKPOINT fresh")
    return fresh.stat().st_size


def _make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def soak(folder: Path, seconds: float) -> tuple[list[Tick], list[Finding]]:
    """Runs the soak in an empty folder.

    Args:
        folder: Where data, keys and records go.
        seconds: How long it ticks.
    """
    with serving() as registry:
        running = Soak(folder, registry)
        running.run(seconds)
        return running.ticks, running.findings()


def main(arguments: Any = None) -> int:
    """Prints the tables; returns 1 where a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--folder", type=Path, help="an empty folder to keep; left out, a temporary one")
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="et-soak-")))
        folder.mkdir(parents=True, exist_ok=True)
        ticks, findings = soak(folder.absolute(), options.seconds)
    print(summary(ticks))
    print("\n| what | found | allowed | holds |\n|---|---|---|---|")
    for finding in findings:
        print(
            f"| {finding.what} | {finding.found} | {finding.allowed} | {'yes' if finding.holds else 'NO'} |"
        )
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
