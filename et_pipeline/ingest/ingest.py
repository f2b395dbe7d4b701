"""Reads new and changed snapshots into the warehouse, in transactions of limited size."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import xxhash

from et_pipeline.common.sql import append, load
from et_pipeline.common.times import naive_utc
from et_pipeline.ingest.ledger import Ledger, Tally
from et_pipeline.ingest.listing import SnapshotFile, Stamp, list_snapshots, pending
from et_pipeline.ingest.reader import Batch
from et_pipeline.ingest.results import IngestResult, Progress
from et_pipeline.ingest.sources import UnreadableError, refuse_changed, unreadable
from et_pipeline.ingest.store import Store
from et_pipeline.ingest.workers import SECTION_BYTES, read_files, worker_count
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GROUP_BYTES = 256 * 1024 * 1024
"""Largest total size of the files that are read in one transaction; it reads at least one file."""

GROUP_FILES = 1000

FINAL = ("broken_stream", "compression_bomb", "broken_parquet")
"""The reasons for which a file is not tried again until it changes; for other reasons it is tried again at every
tick."""


class Reading(NamedTuple):
    """One reading of a snapshot file, usually the latest one of its path.

    Attributes:
        stamp: Size and time of modification of the file.
        content_hash: Hash of its bytes; empty if it has to be read once more, whatever its content.
        revision: How often the path has been read, including this time.
        snapshot_id: Number of the reading.
        changed: Whether the reading before found other content.
    """

    stamp: Stamp
    content_hash: str
    revision: int
    snapshot_id: int
    changed: bool = False


Failure = tuple[SnapshotFile, UnreadableError]
ReadFiles = Callable[["Ingest", list[SnapshotFile], dict[str, Reading]], list[Failure]]
"""A function that reads files into the warehouse or a data set. Its arguments are the ingest, the files, and the latest
reading of each path; it returns the files that cannot be read."""


class _FileError(Exception):
    """A file of a group cannot be read, so the group is rolled back and read again without it."""

    def __init__(self, file: SnapshotFile, cause: UnreadableError) -> None:
        super().__init__(str(cause))
        self.file = file
        self.cause = cause


def ingest(
    connection: DuckDBPyConnection,
    settings: Settings,
    now: datetime,
    progress: Callable[[Progress], None] | None = None,
) -> IngestResult:
    """Reads every new or changed snapshot of the bus into the warehouse.

    One transaction reads a group of files with all their reports, quarantine rows and counts, so after a crash each
    group is stored completely or not at all. A file that cannot be read is listed in `unreadable` and does not stop the
    others.

    Args:
        connection: The warehouse, outside a transaction.
        settings: The folder of the bus, and how far clocks may differ.
        now: The present time (UTC).
        progress: Called again and again with the progress.

    Returns:
        What was done. A missing bus folder raises no error: it is listed in `unreadable` with the path `""`.
    """
    return Ingest(connection, settings, now, progress).run(_read_in_groups)


class Ingest:
    """One ingest: it finds the new files, records what became of their lines, and collects the result.

    Attributes:
        connection: The warehouse.
        latest: The latest time (UTC) that a report may have; reports with a later one wait.
        result: What was done so far.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        settings: Settings,
        now: datetime,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.connection = connection
        self._settings = settings
        self._now = naive_utc(now)
        self.latest = self._now + timedelta(microseconds=settings.max_clock_skew_us)
        self._progress = progress or (lambda _: None)
        self.result = IngestResult()
        self._started = time.perf_counter()
        self._to_do: list[SnapshotFile] = []

    def run(self, read: ReadFiles) -> IngestResult:
        """Reads new files with the function `read`; see `ingest`."""
        listing = list_snapshots(self._settings.report_bus_dir)
        known = latest_readings(self.connection)
        failures = [
            (SnapshotFile(path, 0, 0), UnreadableError("not_readable", f"{path or 'report_bus'}: {why}"))
            for path, why in listing.errors.items()
        ]
        self._to_do = pending(listing.files, known_stamps(self.connection, known))
        to_read = self._without_touched(self._to_do, known, failures)
        failures += read(self, to_read, known)
        self._record_failures(failures, {file.path for file in listing.files})
        self.result.seconds = time.perf_counter() - self._started
        return self.result

    def any_due(self) -> bool:
        """Whether there are waiting reports whose time has come."""
        query = "SELECT EXISTS (FROM early_reports WHERE emitted_at <= $latest)"
        return self.connection.execute(query, {"latest": self.latest}).fetchall() == [(True,)]

    def _without_touched(
        self, files: list[SnapshotFile], known: dict[str, Reading], failures: list[Failure]
    ) -> list[SnapshotFile]:
        """The files to read. A file with a new time of modification but the same content is not read; its stamp is
        updated."""
        to_read = []
        for file in files:
            before = known.get(file.path)
            try:
                if before is None or before.content_hash != content_hash(self.path(file)):
                    to_read.append(file)
                    continue
            except UnreadableError as error:
                failures.append((file, error))
                continue
            self.connection.execute(
                "UPDATE snapshots SET mtime_ns = ? WHERE snapshot_id = ?", [file.mtime_ns, before.snapshot_id]
            )
        return to_read

    def record(self, ledger: Ledger, readings: list[Reading], batch: int) -> None:
        """Stores the readings of a transaction, with the counts of their lines."""
        snapshots, skipped = [], []
        for reading in readings:
            tally = ledger.tallies[reading.snapshot_id]
            snapshots.append(
                {
                    "path": tally.path,
                    "size": reading.stamp[0],
                    "mtime_ns": reading.stamp[1],
                    "content_hash": reading.content_hash,
                    "ingested_at": self._now,
                    "lines": tally.lines,
                    "reports": tally.reports,
                    "duplicates": tally.duplicates,
                    "skipped": tally.skipped.total(),
                    "quarantined": tally.quarantined,
                    "waiting": tally.waiting,
                    "snapshot_id": reading.snapshot_id,
                    "revision": reading.revision,
                    "changed": reading.changed,
                    "batch": batch,
                }
            )
            skipped += [(reading.snapshot_id, *item) for item in sorted(tally.skipped.items())]
        if snapshots:
            append(self.connection, "snapshots", pl.DataFrame(snapshots))
        if skipped:
            frame = pl.DataFrame(skipped, schema=["snapshot_id", "kind", "lines"], orient="row")
            append(self.connection, "skipped", frame)
        if any(reading.revision > 1 for reading in readings):
            self.connection.execute(load(__package__, "supersede"))

    def path(self, file: SnapshotFile) -> Path:
        """The path of a file of the bus."""
        return self._settings.report_bus_dir / file.path

    def report(self, ledger: Ledger, files: int) -> None:
        """Reports the progress of the ingest.

        Args:
            ledger: The present transaction, which is not in the result yet.
            files: Number of files of that transaction that are finished.
        """
        done = self.result
        self._progress(
            Progress(
                files=done.files + files,
                of_files=len(self._to_do),
                lines=done.lines + sum(tally.lines for tally in ledger.tallies.values()),
                bytes=done.bytes + ledger.bytes,
                quarantined=done.quarantined + ledger.reasons.total(),
                seconds=time.perf_counter() - self._started,
            )
        )

    def _record_failures(self, failures: list[Failure], listed: set[str]) -> None:
        """Stores which files cannot be read: those of this tick, and earlier ones that still exist and are not tried
        again."""
        tried = {file.path for file in self._to_do}
        with transaction(self.connection):
            kept = [
                row
                for row in self.connection.execute("SELECT * FROM unreadable").fetchall()
                if row[0] in listed and row[0] not in tried
            ]
            kept += [
                (file.path, cause.reason, cause.sentence, self._now, *file.stamp) for file, cause in failures
            ]
            self.connection.execute("DELETE FROM unreadable")
            if kept:
                self.connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?, ?, ?)", sorted(kept))
        self.result.unreadable = {row[0]: row[1] for row in kept}


def _read_in_groups(run: Ingest, files: list[SnapshotFile], known: dict[str, Reading]) -> list[Failure]:
    """Adds waiting reports whose time has come, then reads the files; returns the files that cannot be read."""
    if run.any_due():
        _take_due(run)
    failures = []
    try:
        # Of many reports several threads would leave parts of row groups: the next checkpoint would write them
        # again, and the file would be larger. Before few are stored, several threads search the known keys faster.
        if sum(file.size for file in files) > SECTION_BYTES:
            run.connection.execute("SET threads = 1")
        while files:
            try:
                _read_all(run, files, known)
            except _FileError as error:
                failures.append((error.file, error.cause))
                files = [file for file in files if file != error.file]
    finally:
        run.connection.execute("RESET threads")
    return failures


def _take_due(run: Ingest) -> None:
    with transaction(run.connection):
        batch, _ = next_numbers(run.connection)
        store = Store(run.connection, batch, run.latest)
        store.add_due()
        store.flush()
    run.result.add(store.ledger, 0, 0, batch)


def _read_all(run: Ingest, remaining: list[SnapshotFile], known: dict[str, Reading]) -> None:
    """Reads the files group by group, each in its own transaction, and removes them from `remaining`."""
    sizes = [(run.path(file), file.size) for file in remaining]
    with (
        closing(read_files(sizes, worker_count())) as contents,
        ThreadPoolExecutor(1) as hashing,
    ):
        for group in grouped(remaining.copy()):
            _read_group(run, group, contents, hashing, known)
            del remaining[: len(group)]


def _read_group(
    run: Ingest,
    group: list[SnapshotFile],
    contents: Iterator[Iterator[Batch]],
    hashing: Executor,
    known: dict[str, Reading],
) -> None:
    with transaction(run.connection):
        batch, next_id = next_numbers(run.connection)
        store = Store(run.connection, batch, run.latest)
        hashes = []
        for snapshot_id, file in enumerate(group, next_id):
            with _blaming(file):
                digest = hashing.submit(content_hash, run.path(file))
                store.ledger.tallies[snapshot_id] = Tally(file.path)
                for part in next(contents):
                    store.add_batch(snapshot_id, part)
                    run.report(store.ledger, snapshot_id - next_id)
                hashes.append(digest.result())
                refuse_changed(run.path(file), file.stamp)
                run.report(store.ledger, snapshot_id - next_id + 1)
        store.flush()
        readings = [
            reading_of(file, digest, known, number)
            for number, (file, digest) in enumerate(zip(group, hashes, strict=True), next_id)
        ]
        run.record(store.ledger, readings, batch)
    run.result.add(store.ledger, len(group), sum(reading.changed for reading in readings), batch)


@contextmanager
def _blaming(file: SnapshotFile) -> Iterator[None]:
    try:
        yield
    except UnreadableError as error:
        raise _FileError(file, error) from error


def reading_of(file: SnapshotFile, digest: str, known: Mapping[str, Reading], number: int) -> Reading:
    """The new reading of a file; its revision is one more than that of the latest reading of its path."""
    before = known.get(file.path)
    if before is None:
        return Reading(file.stamp, digest, 1, number)
    return Reading(file.stamp, digest, before.revision + 1, number, before.content_hash not in ("", digest))


def content_hash(path: Path) -> str:
    """XXH3 (128 bits) of a file's bytes. It finds changes, but it is not secure against a deliberate forgery."""
    with unreadable(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()


def grouped(files: list[SnapshotFile]) -> Iterator[list[SnapshotFile]]:
    """Divides files into groups of at most `GROUP_BYTES` and `GROUP_FILES`, with at least one file each."""
    group: list[SnapshotFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > GROUP_BYTES or len(group) >= GROUP_FILES):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group


def latest_readings(connection: DuckDBPyConnection) -> dict[str, Reading]:
    """The latest reading of every path."""
    rows = connection.execute(load(__package__, "readings")).fetchall()
    return {path: Reading((size, mtime_ns), *rest) for path, size, mtime_ns, *rest in rows}


def known_stamps(connection: DuckDBPyConnection, known: dict[str, Reading]) -> dict[str, Stamp]:
    """Stamps of the files that need not be read: those that were read, and those that are unreadable until they
    change."""
    query = "SELECT path, size, mtime_ns FROM unreadable WHERE list_contains($final, reason)"
    rows = connection.execute(query, {"final": list(FINAL)}).fetchall()
    unreadable_ones = {path: (size, mtime_ns) for path, size, mtime_ns in rows}
    return {path: reading.stamp for path, reading in known.items()} | unreadable_ones


def pending_snapshots(connection: DuckDBPyConnection, settings: Settings) -> list[SnapshotFile]:
    """Snapshots of the bus that the next ingest will read, sorted by path."""
    stamps = known_stamps(connection, latest_readings(connection))
    return pending(list_snapshots(settings.report_bus_dir).files, stamps)


def newest_batch(connection: DuckDBPyConnection) -> int:
    """The number of the newest committed transaction; 0 if there is none."""
    query = "SELECT coalesce(max(batch), 0) FROM (SELECT batch FROM snapshots UNION ALL FROM early_batches)"
    [(batch,)] = connection.execute(query).fetchall()
    return int(batch)


def next_numbers(connection: DuckDBPyConnection) -> tuple[int, int]:
    """The numbers of the next transaction and of the next reading."""
    query = "SELECT coalesce(max(snapshot_id), 0) + 1 FROM snapshots"
    [(snapshot_id,)] = connection.execute(query).fetchall()
    return newest_batch(connection) + 1, snapshot_id
