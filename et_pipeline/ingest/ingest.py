"""New and changed snapshots into the warehouse, in transactions of a bounded size."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from et_pipeline.ingest.listing import SnapshotFile, Stamp, list_snapshots, pending
from et_pipeline.ingest.reader import read_snapshot
from et_pipeline.ingest.sources import UnreadableError, refuse_changed, unreadable
from et_pipeline.ingest.store import Store, Tally
from et_pipeline.resources.settings import Settings
from et_pipeline.resources.sql import load
from et_pipeline.resources.warehouse import transaction

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

GROUP_BYTES = 256 * 1024 * 1024
"""A transaction takes files up to this size together, at least one."""

GROUP_FILES = 1000

FINAL = ("broken_stream", "compression_bomb", "broken_parquet")
"""Why a file stays unreadable until it changes; for any other reason it is tried again at every tick."""


class Progress(NamedTuple):
    """How far an ingest is.

    Attributes:
        files: Files done.
        of_files: Files to do.
        lines: Lines read.
        bytes: Bytes of the files done (as they lie on disk).
        of_bytes: Bytes to do.
        quarantined: Lines put into quarantine.
        seconds: Since the beginning.
    """

    files: int
    of_files: int
    lines: int
    bytes: int
    of_bytes: int
    quarantined: int
    seconds: float

    @property
    def mb_per_second(self) -> float:
        """Megabytes on disk a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"{self.files} of {self.of_files} files, {self.lines:,} lines, {self.mb_per_second:.1f} MB/s, "
            f"{self.quarantined:,} quarantined"
        )


@dataclass
class IngestResult:
    """What an ingest did.

    Attributes:
        files: Snapshots read.
        changed: Of these, the ones whose content changed since they were read first.
        lines, reports, duplicates, skipped, quarantined: Lines, and where they went; `skipped` per kind.
        displaced: Stored reports that a conflict put into quarantine.
        reasons: Lines put into quarantine, per reason.
        unreadable: Files that cannot be read now, with the reason.
        bytes: Bytes read from disk.
        seconds: Time taken.
        batches: Numbers of the transactions.
    """

    files: int = 0
    changed: int = 0
    lines: int = 0
    reports: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    displaced: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)

    @property
    def mb_per_second(self) -> float:
        """Megabytes on disk a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def add(self, store: Store, files: list[SnapshotFile], batch: int) -> None:
        """Adds what one transaction did."""
        for tally in store.tallies.values():
            self.lines += tally.lines
            self.reports += tally.reports
            self.duplicates += tally.duplicates
            self.quarantined += tally.quarantined
            self.skipped.update(tally.skipped)
        self.files += len(files)
        self.displaced += store.displaced
        self.reasons.update(store.reasons)
        self.bytes += sum(file.size for file in files)
        self.batches.append(batch)


class Reading(NamedTuple):
    """The latest reading of a path: what the file was then, and the numbers it got."""

    stamp: Stamp
    content_hash: str
    revision: int
    snapshot_id: int


_Failure = tuple[SnapshotFile, UnreadableError]


class _FileError(Exception):
    """A file of a group cannot be read: the group is rolled back and read again without it."""

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

    A transaction takes a group of files with all their reports, quarantine rows and counts; a crash leaves
    whole groups only. A file that cannot be read stands in `unreadable` and does not stop the others.

    Args:
        connection: The warehouse, outside a transaction.
        settings: Where the bus is, how far clocks may be apart.
        now: The present (UTC).
        progress: Called while it goes on.

    Returns:
        What was done. A missing bus folder is no error here: it stands in `unreadable` under the path `""`.
    """
    return _Ingest(connection, settings, now, progress or (lambda _: None)).run()


class _Ingest:
    def __init__(
        self,
        connection: DuckDBPyConnection,
        settings: Settings,
        now: datetime,
        progress: Callable[[Progress], None],
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._now = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
        self._latest = self._now + timedelta(microseconds=settings.max_clock_skew_us)
        self._progress = progress
        self._result = IngestResult()
        self._started = time.perf_counter()
        self._to_do: list[SnapshotFile] = []

    def run(self) -> IngestResult:
        listing = list_snapshots(self._settings.report_bus_dir)
        known = latest_readings(self._connection)
        failures = [
            (SnapshotFile(path, 0, 0), UnreadableError("not_readable", f"{path or 'report_bus'}: {why}"))
            for path, why in listing.errors.items()
        ]
        self._to_do = pending(listing.files, known_stamps(self._connection, known))
        for group in grouped(self._to_do):
            failures += self._ingest_group(group, known)
        self._record_failures(failures, {file.path for file in listing.files})
        self._result.seconds = time.perf_counter() - self._started
        return self._result

    def _ingest_group(self, group: list[SnapshotFile], known: dict[str, Reading]) -> list[_Failure]:
        failures: list[_Failure] = []
        while group:
            try:
                self._ingest_together(group, known)
                break
            except _FileError as error:
                failures.append((error.file, error.cause))
                group = [file for file in group if file != error.file]
        return failures

    def _ingest_together(self, group: list[SnapshotFile], known: dict[str, Reading]) -> None:
        with transaction(self._connection):
            batch, next_id = _next_numbers(self._connection)
            store = Store(self._connection, batch)
            read: list[tuple[SnapshotFile, int, str]] = []
            for file in group:
                with _blaming(file):
                    content_hash = self._content_hash(file)
                    before = known.get(file.path)
                    if before is not None and before.content_hash == content_hash:
                        self._touch(before, file)
                        continue
                    snapshot_id = next_id + len(read)
                    store.tallies[snapshot_id] = Tally(file.path)
                    for part in read_snapshot(self._path(file), self._latest):
                        store.add(snapshot_id, part)
                        self._report(store, read)
                    self._refuse_changed(file)
                read.append((file, snapshot_id, content_hash))
            store.flush()
            for file, snapshot_id, content_hash in read:
                self._record(file, store.tallies[snapshot_id], snapshot_id, content_hash, batch, known)
        self._result.add(store, [file for file, _, _ in read], batch)
        self._result.changed += sum(file.path in known for file, _, _ in read)

    def _record(
        self,
        file: SnapshotFile,
        tally: Tally,
        snapshot_id: int,
        content_hash: str,
        batch: int,
        known: dict[str, Reading],
    ) -> None:
        before = known.get(file.path)
        self._connection.execute(
            load(__package__, "snapshot"),
            {
                "path": file.path,
                "size": file.size,
                "mtime_ns": file.mtime_ns,
                "content_hash": content_hash,
                "ingested_at": self._now,
                "lines": tally.lines,
                "reports": tally.reports,
                "duplicates": tally.duplicates,
                "skipped": tally.skipped.total(),
                "quarantined": tally.quarantined,
                "snapshot_id": snapshot_id,
                "revision": 1 if before is None else before.revision + 1,
                "changed": before is not None,
                "batch": batch,
            },
        )
        if tally.skipped:
            rows = [(snapshot_id, kind, lines) for kind, lines in sorted(tally.skipped.items())]
            self._connection.executemany("INSERT INTO skipped VALUES (?, ?, ?)", rows)

    def _touch(self, before: Reading, file: SnapshotFile) -> None:
        """The same content under a new time: only the stamp is new."""
        self._connection.execute(
            "UPDATE snapshots SET mtime_ns = ? WHERE snapshot_id = ?", [file.mtime_ns, before.snapshot_id]
        )

    def _content_hash(self, file: SnapshotFile) -> str:
        path = self._path(file)
        with unreadable(path), path.open("rb") as stream:
            return hashlib.file_digest(stream, xxhash.xxh3_128).hexdigest()

    def _refuse_changed(self, file: SnapshotFile) -> None:
        path = self._path(file)
        with unreadable(path):
            refuse_changed(path, file.stamp)

    def _path(self, file: SnapshotFile) -> Path:
        return self._settings.report_bus_dir / file.path

    def _report(self, store: Store, read: list[tuple[SnapshotFile, int, str]]) -> None:
        done = self._result
        self._progress(
            Progress(
                files=done.files + len(read),
                of_files=len(self._to_do),
                lines=done.lines + sum(tally.lines for tally in store.tallies.values()),
                bytes=done.bytes + sum(file.size for file, _, _ in read),
                of_bytes=sum(file.size for file in self._to_do),
                quarantined=done.quarantined + store.reasons.total(),
                seconds=time.perf_counter() - self._started,
            )
        )

    def _record_failures(self, failures: list[_Failure], listed: set[str]) -> None:
        """Notes what cannot be read now: files of this tick, and those given up before that lie there still."""
        tried = {file.path for file in self._to_do}
        with transaction(self._connection):
            kept = [
                row
                for row in self._connection.execute("SELECT * FROM unreadable").fetchall()
                if row[0] in listed and row[0] not in tried
            ]
            kept += [
                (file.path, cause.reason, cause.sentence, self._now, *file.stamp) for file, cause in failures
            ]
            self._connection.execute("DELETE FROM unreadable")
            if kept:
                self._connection.executemany("INSERT INTO unreadable VALUES (?, ?, ?, ?, ?, ?)", sorted(kept))
        self._result.unreadable = {row[0]: row[1] for row in kept}


@contextmanager
def _blaming(file: SnapshotFile) -> Iterator[None]:
    try:
        yield
    except UnreadableError as error:
        raise _FileError(file, error) from error


def grouped(files: list[SnapshotFile]) -> Iterator[list[SnapshotFile]]:
    """Files in groups of up to `GROUP_BYTES` and `GROUP_FILES`, at least one file each."""
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
    """Stamps of the files that need no reading: those read, and those unreadable until they change."""
    query = "SELECT path, size, mtime_ns FROM unreadable WHERE list_contains($final, reason)"
    rows = connection.execute(query, {"final": list(FINAL)}).fetchall()
    unreadable_ones = {path: (size, mtime_ns) for path, size, mtime_ns in rows}
    return {path: reading.stamp for path, reading in known.items()} | unreadable_ones


def pending_snapshots(connection: DuckDBPyConnection, settings: Settings) -> list[SnapshotFile]:
    """Snapshots of the bus that the next ingest will read, sorted by path."""
    stamps = known_stamps(connection, latest_readings(connection))
    return pending(list_snapshots(settings.report_bus_dir).files, stamps)


def _next_numbers(connection: DuckDBPyConnection) -> tuple[int, int]:
    query = "SELECT coalesce(max(batch), 0) + 1, coalesce(max(snapshot_id), 0) + 1 FROM snapshots"
    [(batch, snapshot_id)] = connection.execute(query).fetchall()
    return batch, snapshot_id
