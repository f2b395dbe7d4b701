"""What a tick stands on breaks: a full disk, folders that cannot be written, a damaged warehouse, a clock that jumps.

Each time the tick says what is wrong in one line, nothing that was there is lost, and once the fault is mended
the next tick makes what it would have made without it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from et_pipeline.publishing.delivery import Policy, deliver
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.faults.chains import Reference, copy, registry_before
from et_pipeline_tests.faults.compare import differences, known
from et_pipeline_tests.faults.processes import Blow, Nursery, Run, clean_environment
from et_pipeline_tests.faults.stages import environment
from et_pipeline_tests.registry import Registry

pytestmark = pytest.mark.xdist_group("faults")
slow = pytest.mark.faults

VERDICTS = 1
SIZE = 64 * 1024 * 1024
needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")


@pytest.fixture
def data(reference: Reference, folder: Path) -> Iterator[Path]:
    """The data folder before its second tick."""
    target = folder / "environment"
    yield copy(reference.before[VERDICTS], target)
    shutil.rmtree(target)


@pytest.fixture
def there(reference: Reference) -> Iterator[Registry]:
    with registry_before(reference, VERDICTS) as server:
        yield server


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of its own at a folder, with what was in it."""
    saved = place.with_name(f"{place.name}-saved")
    shutil.copytree(place, saved)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=False)
    if mounted.returncode:
        shutil.rmtree(saved)
        pytest.skip("this machine lets nobody mount a file system")
    try:
        shutil.copytree(saved, place, dirs_exist_ok=True)
        shutil.rmtree(saved)
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, left: int) -> Path:
    """Leaves so many bytes of a file system free."""
    status = os.statvfs(place)
    ballast = place / "ballast.tmp"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - left)
    return ballast


def tick(nursery: Nursery, data: Path, there: Registry, now: str | None = None) -> Run:
    settings = environment(data, VERDICTS, there.url)
    return nursery.et("tick", environment={**settings, "ET_NOW": now or settings["ET_NOW"]})


def says(run: Run, *words: str) -> None:
    """It failed with one line that holds these words, and no traceback."""
    assert run.status == 1, run.output
    assert "Traceback" not in run.output, run.output
    line = next(line for line in run.output.splitlines() if line.startswith("et: "))
    for word in words:
        assert word.lower() in line.lower(), line


def as_undisturbed(nursery: Nursery, reference: Reference, data: Path, there: Registry) -> None:
    last = tick(nursery, data, there)
    assert last.status == 0, last.output
    assert differences(reference.after[VERDICTS], known(data)) == []
    assert there.bodies == reference.signals[VERDICTS]


@needs_mount
@pytest.mark.parametrize(
    ("where", "left_kb"),
    [
        pytest.param("warehouse", 0, marks=slow),
        ("warehouse", 200),
        pytest.param("warehouse", 1000, marks=slow),
        pytest.param("published", 0, marks=slow),
        pytest.param("published", 400, marks=slow),
    ],
)
def test_a_full_disk_stops_a_tick_and_loses_nothing(
    nursery: Nursery, reference: Reference, data: Path, there: Registry, where: str, left_kb: int
) -> None:
    with small_disk(data / where):
        ballast = fill(data / where, left_kb * 1024)
        run = tick(nursery, data, there)
        says(run, "space")
        ballast.unlink()
        as_undisturbed(nursery, reference, data, there)


@needs_mount
def test_messages_that_found_a_full_disk_leave_once_there_is_space(
    nursery: Nursery, reference: Reference, data: Path, there: Registry
) -> None:
    settings = Settings.from_env(environment(data, VERDICTS, there.url))
    before = sorted(settings.outbox_dir.glob("*.json"))
    with small_disk(settings.outbox_dir):
        ballast = fill(settings.outbox_dir, 0)
        run = tick(nursery, data, there)
        assert run.status == 1 and "could not be delivered" in run.output, run.output
        assert sorted(settings.outbox_dir.glob("*.json")) == before, "no half message has its name"
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
            failed = connection.execute(
                "SELECT event_id, detail FROM deliveries WHERE status = 'failed' ORDER BY 1"
            ).fetchall()
        assert failed and all("No space left on device" in detail for _, detail in failed)
        ballast.unlink()
        assert deliver(settings).outcomes == [], "each waits for its next attempt"
        sent = deliver(
            settings, clock=lambda: datetime.now(UTC) + Policy.first_pause_s * timedelta(seconds=1)
        )
        assert sorted((outcome.event_id, outcome.status) for outcome in sent.outcomes) == [
            (event_id, "delivered") for event_id, _ in failed
        ]
        as_undisturbed(nursery, reference, data, there)


@slow
@needs_mount
def test_a_full_disk_under_dagster_stops_a_tick_and_loses_nothing(
    nursery: Nursery, reference: Reference, data: Path, there: Registry
) -> None:
    with small_disk(data / "dagster"):
        ballast = fill(data / "dagster", 0)
        says(tick(nursery, data, there), "dagster")
        ballast.unlink()
        as_undisturbed(nursery, reference, data, there)


@needs_mount
@pytest.mark.parametrize(
    "where", ["published", pytest.param("warehouse", marks=slow), pytest.param("dagster", marks=slow)]
)
def test_a_folder_that_cannot_be_written_is_named(
    nursery: Nursery, reference: Reference, data: Path, there: Registry, where: str
) -> None:
    with small_disk(data / where):
        subprocess.run(["mount", "-o", "remount,ro", data / where], check=True)
        says(tick(nursery, data, there), where, "read-only" if where != "dagster" else "")
        subprocess.run(["mount", "-o", "remount,rw", data / where], check=True)
        as_undisturbed(nursery, reference, data, there)


def overwrite(path: Path) -> None:
    """Foreign bytes all over everything but the head."""
    with path.open("r+b") as file:
        for offset in range(12_288, path.stat().st_size, 16_384):
            file.seek(offset)
            file.write(b"\xa5" * 64)


@contextmanager
def backed_up(nursery: Nursery, data: Path, there: Registry, saved: Path) -> Iterator[None]:
    """Makes a backup of the warehouse before the damage, and restores it after."""
    settings = environment(data, VERDICTS, there.url)
    assert nursery.et("backup", str(saved), environment=settings).status == 0
    try:
        yield
        restored = nursery.et("restore", str(saved), environment=settings)
        assert restored.status == 0, restored.output
        for replaced in data.glob("replaced-*"):
            shutil.rmtree(replaced)
    finally:
        shutil.rmtree(saved)


@slow  # a corrupt warehouse in short: commands/test_user_errors.py
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b""), ("cannot be opened", "et restore")),
        (lambda path: path.unlink(), ("gone or empty", "et restore")),
        (
            lambda path: path.write_bytes(random.Random(1).randbytes(100_000)),
            ("cannot be opened", "et restore"),
        ),
        (lambda path: os.truncate(path, path.stat().st_size // 2), ("warehouse.duckdb", "et restore")),
        (lambda path: os.truncate(path, 5000), ("warehouse.duckdb", "et restore")),
        (overwrite, ("warehouse.duckdb", "et restore")),
    ],
    ids=["empty", "gone", "noise", "half", "head only", "blocks overwritten"],
)
def test_a_damaged_warehouse_is_named_left_alone_and_restored(
    nursery: Nursery,
    reference: Reference,
    data: Path,
    there: Registry,
    folder: Path,
    damage: Callable[[Path], object],
    words: tuple[str, ...],
) -> None:
    with backed_up(nursery, data, there, folder / "saved"):
        damage(data / "warehouse" / "warehouse.duckdb")
        says(tick(nursery, data, there), *words)
    as_undisturbed(nursery, reference, data, there)


@slow
def test_a_log_of_noise_beside_a_whole_warehouse_changes_nothing(
    nursery: Nursery, reference: Reference, data: Path, there: Registry
) -> None:
    (data / "warehouse" / "warehouse.duckdb.wal").write_bytes(random.Random(2).randbytes(5000))
    as_undisturbed(nursery, reference, data, there)


def left_log(nursery: Nursery, data: Path, there: Registry, moment: str) -> Path:
    """The write-ahead log that a tick leaves which is killed before DuckDB has written it into the warehouse."""
    settings = environment(data, VERDICTS, there.url)
    assert nursery.et("tick", environment=settings, die_at=Blow(f"transaction: after {moment}")).killed
    log = data / "warehouse" / "warehouse.duckdb.wal"
    assert log.stat().st_size > 400, "there is something to damage"
    return log


EVERY_LOG = [
    "ingest.ingest._read_group",
    "pairing.pairs.build_pairs",
    "governance.decide.decide",
    "publishing.outbox.record",
]


@slow  # in short: warehouse/test_warehouse.py, the rest of a log
@pytest.mark.parametrize("moment", EVERY_LOG)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.999])
def test_a_log_that_was_cut_off_loses_only_the_step_that_wrote_it(
    nursery: Nursery, reference: Reference, data: Path, there: Registry, *, moment: str, kept: float
) -> None:
    log = left_log(nursery, data, there, moment)
    os.truncate(log, int(log.stat().st_size * kept))
    as_undisturbed(nursery, reference, data, there)


HEAD = 100
"""Bytes at the beginning of a log that say what it is: with others there, DuckDB takes it for noise."""


@pytest.mark.parametrize(
    "moment", [EVERY_LOG[0], *(pytest.param(moment, marks=slow) for moment in EVERY_LOG[1:])]
)
@pytest.mark.parametrize("place", [0.6, *(pytest.param(share, marks=slow) for share in (0.01, 0.3, 0.95))])
def test_a_log_with_other_bytes_is_named_left_alone_and_restored(
    nursery: Nursery,
    reference: Reference,
    data: Path,
    there: Registry,
    folder: Path,
    *,
    moment: str,
    place: float,
) -> None:
    with backed_up(nursery, data, there, folder / "saved"):
        log = left_log(nursery, data, there, moment)
        damaged = bytearray(log.read_bytes())
        start = HEAD + int((len(damaged) - HEAD) * place)
        damaged[start : start + 8] = bytes(byte ^ 0xFF for byte in damaged[start : start + 8])
        log.write_bytes(damaged)
        says(tick(nursery, data, there), "WAL", "cannot be opened", "et restore")
        assert log.read_bytes() == bytes(damaged), "whoever wants to save more of it still can"
    as_undisturbed(nursery, reference, data, there)


@pytest.mark.parametrize(
    "jumps",
    [
        ("2026-10-20T00:00:00Z", "2026-10-05T00:00:00Z", "2031-01-01T00:00:00Z"),
        pytest.param(
            ("2026-10-20T00:00:00Z", "2031-01-01T00:00:00Z", "2026-10-05T00:00:00Z", "2026-10-19T00:00:00Z"),
            marks=slow,
        ),
    ],
    ids=["back and ahead", "ahead and back"],
)
def test_a_clock_that_jumps_tells_nothing_twice(
    nursery: Nursery, data: Path, there: Registry, jumps: tuple[str, ...]
) -> None:
    told: list[list[tuple]] = []
    settings = environment(data, VERDICTS, there.url)
    for now in jumps:
        run = nursery.et("tick", "--force", environment={**settings, "ET_NOW": now})
        assert run.status == 0, run.output
        with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
            told.append(connection.execute("SELECT event_id FROM events ORDER BY 1").fetchall())
            states = connection.execute("SELECT experiment_id, state FROM verdicts ORDER BY 1").fetchall()
    assert states == [("better", "promotion_review"), ("worse", "concluded")], "nothing goes back"
    assert all(events == told[0] for events in told), "what follows from the reports was told once"
    assert len(set(told[-1])) == len(told[-1])
    for command in (("audit", "verify"), ("rebuild", "--check")):
        done = nursery.et(*command, environment=settings)
        assert done.status == 0, done.output


@slow  # in short: operations/test_several_machines.py, where runs of two machines take turns
def test_two_ticks_at_once_are_one(
    nursery: Nursery, reference: Reference, data: Path, there: Registry
) -> None:
    settings = {**clean_environment(), **environment(data, VERDICTS, there.url)}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "et_pipeline", "tick"],
            cwd=PROJECT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    as_undisturbed(nursery, reference, data, there)
