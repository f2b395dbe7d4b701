"""Where the lines of one ingest transaction went: tallies, quarantine and counts, whatever holds the reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from et_pipeline.common.sql import ArrowStream
from et_pipeline.ingest.resolve import CONFLICT_SENTENCE, rebuilt_raw

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass
class Tally:
    """Where the lines of one reading of a snapshot went; each in exactly one place."""

    path: str
    lines: int = 0
    reports: int = 0
    duplicates: int = 0
    quarantined: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


class Ledger:
    """The books of one transaction.

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

    def quarantine_conflicts(self, reports: pl.DataFrame) -> None:
        """Puts reports that lost a conflict into quarantine."""
        if not len(reports):
            return
        rows = reports.to_dicts()
        self.quarantine(
            reports.select("line", "snapshot_id", "report_id", "content_hash").with_columns(
                reason=pl.lit("conflict"),
                sentence=pl.lit(CONFLICT_SENTENCE),
                raw=pl.Series([rebuilt_raw(row) for row in rows], dtype=pl.String),
            )
        )

    def take_back(self, reports: pl.DataFrame) -> None:
        """Puts stored reports that an arrival replaced into quarantine, under the file and line they came from."""
        self.displaced += len(reports)
        self.quarantine_conflicts(reports)
        for snapshot_id, lines in _per_snapshot(reports):
            if snapshot_id in self.tallies:
                self.tallies[snapshot_id].reports -= lines
            else:
                self._connection.execute(
                    "UPDATE snapshots SET reports = reports - $lines, quarantined = quarantined + $lines "
                    "WHERE snapshot_id = $id",
                    {"lines": lines, "id": snapshot_id},
                )

    def quarantine(self, bad: pl.DataFrame) -> None:
        """Puts lines into quarantine."""
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

    def count(self, what: str, reports: pl.DataFrame) -> None:
        """Notes what became of reports: they are `what`, an attribute of `Tally`."""
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
