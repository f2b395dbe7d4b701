"""Writes batches of reports into the warehouse, inside the caller's transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from et_pipeline.common.sql import ArrowStream, append, load
from et_pipeline.ingest.ledger import Ledger
from et_pipeline.ingest.reader import Batch
from et_pipeline.ingest.resolve import resolve

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORE_ROWS = 250_000
"""Arrivals are collected up to this number before they are stored: each time, the keys of all stored reports are
searched."""


class Store:
    """Stores the reports that arrive in one transaction.

    Attributes:
        ledger: Records what became of the lines of the transaction.
    """

    def __init__(self, connection: DuckDBPyConnection, batch: int, latest: datetime) -> None:
        """Starts without reports; reports with a time after `latest` (UTC) wait."""
        self.ledger = Ledger(connection, batch)
        self._connection = connection
        self._batch = batch
        self._latest = latest
        self._arrived: list[pl.DataFrame] = []
        self._rows = 0

    def add_batch(self, snapshot_id: int, batch: Batch) -> None:
        """Adds a batch of a snapshot; its counts must exist in the ledger."""
        tally = self.ledger.tallies[snapshot_id]
        tally.lines += batch.lines
        self.ledger.bytes += batch.size
        tally.skipped.update(batch.skipped)
        self.ledger.quarantine(batch.bad.with_columns(snapshot_id=pl.lit(snapshot_id)))
        reports = batch.reports.with_columns(snapshot_id=pl.lit(snapshot_id, pl.Int32))
        early = pl.col("emitted_at") > self._latest
        if reports.select(early.any()).item():
            self.ledger.wait(reports.filter(early))
            reports = reports.filter(~early)
        self._arrive(reports)

    def add_due(self) -> None:
        """Adds the waiting reports whose time has come."""
        self._arrive(self.ledger.take_due(self._latest))

    def _arrive(self, reports: pl.DataFrame) -> None:
        if len(reports):
            self._arrived.append(reports)
            self._rows += len(reports)
        if self._rows >= STORE_ROWS:
            self.flush()

    def flush(self) -> None:
        """Stores the arrivals that were collected so far."""
        if not self._arrived:
            return
        frame, self._arrived, self._rows = pl.concat(self._arrived, how="diagonal"), [], 0
        stored = self._known("stored", frame)
        doubtful = bool(len(stored)) or frame["report_key"].n_unique() < len(frame)
        quarantined = self._known("quarantined", frame) if doubtful else frame.clear()
        outcome = resolve(frame, stored, quarantined)
        self.ledger.count("duplicates", outcome.duplicates)
        self._take_out(pl.concat([outcome.displaced, outcome.replaced]))
        self.ledger.take_back(outcome.displaced)
        self.ledger.repeat(outcome.replaced)
        self.ledger.quarantine_conflicts(outcome.conflicts)
        self._insert(outcome.kept)

    def _known(self, query: str, arrived: pl.DataFrame) -> pl.DataFrame:
        arrivals = ArrowStream(arrived.select("report_key", "report_id"))  # noqa: F841 (DuckDB scans it by name)
        return pl.DataFrame(self._connection.sql(load(__package__, query)))

    def _insert(self, reports: pl.DataFrame) -> None:
        self.ledger.count("reports", reports)
        if len(reports):
            batch = pl.lit(self._batch, pl.Int64)
            append(self._connection, "reports", reports.with_columns(batch=batch))

    def _take_out(self, reports: pl.DataFrame) -> None:
        """Removes stored reports again, and records this for pairing."""
        if not len(reports):
            return
        losers = ArrowStream(reports.select("report_key", "report_id", "content_hash"))  # noqa: F841
        self._connection.execute(load(__package__, "displace"), {"batch": self._batch})
        self._connection.execute(load(__package__, "take_out"))
