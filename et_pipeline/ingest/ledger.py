"""Records what became of the lines of one ingest transaction: quarantine and counts, wherever the reports are
stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from et_pipeline.common.sql import append
from et_pipeline.ingest.resolve import CONFLICT_SENTENCE, rebuilt_raw

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass
class Tally:
    """What became of the lines of one reading of a snapshot; each line is counted exactly once."""

    path: str
    lines: int = 0
    reports: int = 0
    duplicates: int = 0
    quarantined: int = 0
    waiting: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


class Ledger:
    """The counts of one transaction.

    Attributes:
        tallies: What became of the lines of each snapshot, by snapshot id.
        displaced: Number of stored reports that were removed again.
        due: Number of reports that waited and whose time has come.
        reasons: Number of lines put into quarantine, by reason.
        bytes: Bytes of text read.
    """

    def __init__(self, connection: DuckDBPyConnection, batch: int) -> None:
        self.tallies: dict[int, Tally] = {}
        self.displaced = 0
        self.due = 0
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
        """Puts stored reports that lost a conflict into quarantine, with the file and line from which they came."""
        self.displaced += len(reports)
        self.quarantine_conflicts(reports)
        self.count("reports", reports, -1)

    def repeat(self, reports: pl.DataFrame) -> None:
        """Counts stored reports as duplicates, since a new one with the same content and a more precise time replaces
        them."""
        self.count("reports", reports, -1)
        self.count("duplicates", reports)

    def quarantine(self, bad: pl.DataFrame) -> None:
        """Puts lines into quarantine."""
        if not len(bad):
            return
        for reason, lines in bad.group_by("reason").len().iter_rows():
            self.reasons[reason] += lines
        self.count("quarantined", bad)
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

    def wait(self, reports: pl.DataFrame) -> None:
        """Puts reports whose time has not come yet into `early_reports`."""
        if len(reports):
            self.count("waiting", reports)
            append(self._connection, "early_reports", reports)

    def take_due(self, latest: datetime) -> pl.DataFrame:
        """Removes the reports with a time up to `latest` (UTC) from `early_reports` and returns them as new
        arrivals."""
        due = "FROM early_reports WHERE emitted_at <= $latest"
        reports = pl.DataFrame(self._connection.sql(f"SELECT * {due}", params={"latest": latest}))
        if len(reports):
            self._connection.execute(f"DELETE {due}", {"latest": latest})
            self._connection.execute("INSERT INTO early_batches VALUES (?)", [self._batch])
            self.count("waiting", reports, -1)
            self.due += len(reports)
        return reports

    def count(self, what: str, lines: pl.DataFrame, sign: int = 1) -> None:
        """Counts lines by what became of them.

        Args:
            what: An attribute of `Tally`.
            lines: The lines, with their `snapshot_id`.
            sign: 1 to add them, -1 to take them back.
        """
        for snapshot_id, number in _per_snapshot(lines):
            self.add(snapshot_id, what, sign * number)

    def add(self, snapshot_id: int, what: str, lines: int) -> None:
        """Adds a number of lines to the count `what` of a reading, which may belong to an earlier transaction."""
        tally = self.tallies.get(snapshot_id)
        if tally is not None:
            setattr(tally, what, getattr(tally, what) + lines)
        else:
            self._connection.execute(
                f'UPDATE snapshots SET "{what}" = "{what}" + $lines WHERE snapshot_id = $id',
                {"lines": lines, "id": snapshot_id},
            )


_PATHS = {"snapshot_id": pl.Int32, "path": pl.String}


def _per_snapshot(rows: pl.DataFrame) -> list[tuple[int, int]]:
    return rows.group_by("snapshot_id").len().rows()
