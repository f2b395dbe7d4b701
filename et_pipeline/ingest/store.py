"""Batches of reports into the warehouse, inside the caller's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from et_pipeline.ingest.reader import Batch
from et_pipeline.ingest.resolve import CONFLICT_SENTENCE, rebuilt_raw, resolve
from et_pipeline.resources.frames import ArrowStream
from et_pipeline.resources.sql import load

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORE_ROWS = 100_000
"""Arrivals are gathered up to this number before they are stored: small files share a statement."""


@dataclass
class Tally:
    """Where the lines of one reading of a snapshot went; each in exactly one place."""

    path: str
    lines: int = 0
    reports: int = 0
    duplicates: int = 0
    quarantined: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


class Store:
    """One transaction's worth of arrivals.

    Attributes:
        tallies: Per snapshot id what became of its lines.
        displaced: Reports that were taken out again.
        reasons: Lines put into quarantine, per reason.
        bytes: Bytes of text read.
    """

    def __init__(self, connection: DuckDBPyConnection, batch: int) -> None:
        self.tallies: dict[int, Tally] = {}
        self.displaced = 0
        self.reasons: Counter[str] = Counter()
        self.bytes = 0
        self._connection = connection
        self._batch = batch
        self._waiting: list[pl.DataFrame] = []
        self._rows = 0

    def add(self, snapshot_id: int, batch: Batch) -> None:
        """Takes a batch of a snapshot that has its tally."""
        tally = self.tallies[snapshot_id]
        tally.lines += batch.lines
        self.bytes += batch.size
        tally.skipped.update(batch.skipped)
        self._quarantine(batch.bad.with_columns(snapshot_id=pl.lit(snapshot_id)))
        if len(batch.reports):
            self._waiting.append(batch.reports.with_columns(snapshot_id=pl.lit(snapshot_id, pl.Int32)))
            self._rows += len(batch.reports)
        if self._rows >= STORE_ROWS:
            self.flush()

    def flush(self) -> None:
        """Stores the arrivals that wait."""
        if not self._waiting:
            return
        frame, self._waiting, self._rows = pl.concat(self._waiting), [], 0
        stored = self._known("stored", frame)
        doubtful = bool(len(stored)) or frame["report_key"].n_unique() < len(frame)
        quarantined = self._known("quarantined", frame) if doubtful else frame.clear()
        outcome = resolve(frame, stored, quarantined)
        self._count("duplicates", outcome.duplicates)
        self._displace(outcome.displaced)
        self._quarantine_conflicts(outcome.conflicts)
        self._insert(outcome.kept)

    def _known(self, query: str, arrived: pl.DataFrame) -> pl.DataFrame:
        arrivals = ArrowStream(arrived.select("report_key", "report_id"))  # noqa: F841 (DuckDB scans it by name)
        return pl.DataFrame(self._connection.sql(load(__package__, query)))

    def _insert(self, reports: pl.DataFrame) -> None:
        self._count("reports", reports)
        if len(reports):
            batch = pl.lit(self._batch, pl.Int64)
            append(self._connection, "reports", reports.with_columns(batch=batch))

    def _quarantine_conflicts(self, reports: pl.DataFrame) -> None:
        if not len(reports):
            return
        rows = reports.to_dicts()
        self._quarantine(
            reports.select("line", "snapshot_id", "report_id", "content_hash").with_columns(
                reason=pl.lit("conflict"),
                sentence=pl.lit(CONFLICT_SENTENCE),
                raw=pl.Series([rebuilt_raw(row) for row in rows], dtype=pl.String),
            )
        )

    def _displace(self, reports: pl.DataFrame) -> None:
        """Moves stored reports to quarantine, under the file and line they came from."""
        if not len(reports):
            return
        losers = ArrowStream(reports.select("report_key", "report_id", "content_hash"))  # noqa: F841
        self._connection.execute(load(__package__, "displace"), {"batch": self._batch})
        self._connection.execute(load(__package__, "take_out"))
        self.displaced += len(reports)
        self._quarantine_conflicts(reports)
        for snapshot_id, lines in _per_snapshot(reports):
            if snapshot_id in self.tallies:
                self.tallies[snapshot_id].reports -= lines
            else:
                self._connection.execute(
                    "UPDATE snapshots SET reports = reports - $lines, quarantined = quarantined + $lines "
                    "WHERE snapshot_id = $id",
                    {"lines": lines, "id": snapshot_id},
                )

    def _quarantine(self, bad: pl.DataFrame) -> None:
        if not len(bad):
            return
        for reason, lines in bad.group_by("reason").len().iter_rows():
            self.reasons[reason] += lines
        for snapshot_id, lines in _per_snapshot(bad):
            if snapshot_id in self.tallies:
                self.tallies[snapshot_id].quarantined += lines
        paths = pl.DataFrame(self._paths(bad["snapshot_id"].unique().to_list()), schema=_PATHS, orient="row")
        rows = bad.with_columns(pl.col("snapshot_id").cast(pl.Int32)).join(paths, on="snapshot_id")
        append(self._connection, "quarantine", rows)

    def _paths(self, snapshot_ids: Iterable[int]) -> list[tuple[int, str]]:
        ids = list(snapshot_ids)
        found = [(number, self.tallies[number].path) for number in ids if number in self.tallies]
        older = [number for number in ids if number not in self.tallies]
        if older:
            query = "SELECT snapshot_id, path FROM snapshots WHERE snapshot_id IN (SELECT unnest($ids))"
            found += self._connection.execute(query, {"ids": older}).fetchall()
        return found

    def _count(self, what: str, reports: pl.DataFrame) -> None:
        for snapshot_id, lines in _per_snapshot(reports):
            tally = self.tallies[snapshot_id]
            setattr(tally, what, getattr(tally, what) + lines)


def append(connection: DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """Appends rows to a table, by the names of columns."""
    rows = ArrowStream(frame)  # noqa: F841 (DuckDB scans it by name)
    connection.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM rows')


_PATHS = {"snapshot_id": pl.Int32, "path": pl.String}


def _per_snapshot(rows: pl.DataFrame) -> list[tuple[int, int]]:
    return rows.group_by("snapshot_id").len().rows()
