"""Ingest on a cluster: workers read and check snapshots; reports go to the data set, counts and quarantine to the
warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial

import polars as pl

from et_pipeline.common.sql import append, load
from et_pipeline.ingest.ingest import Failure, Ingest, Reading, next_numbers, reading_of
from et_pipeline.ingest.ledger import Ledger, Tally
from et_pipeline.ingest.listing import SnapshotFile
from et_pipeline.ingest.results import IngestResult, Progress
from et_pipeline.ingest.sources import UnreadableError
from et_pipeline.ingest.workers import tasks_of
from et_pipeline.settings import Settings
from et_pipeline.spark import worker
from et_pipeline.spark.engine import SparkEngine
from et_pipeline.warehouse.connection import transaction

ARRIVAL = ", ".join(
    "r.line + o.lines_before AS line" if name == "line" else f"r.{name}" for name in worker.REPORT
)
"""The columns of a report `r` that was read; `o` gives the number of lines of its file before its section."""
_KNOWN = {"report_id": "l.report_id", "report_key": "k.report_key", "content_hash": "l.content_hash"}
LOST = ", ".join(_KNOWN.get(name, f"CAST(NULL AS {kind}) AS {name}") for name, kind in worker.REPORT.items())
"""The columns of a content `l` that lost a conflict before; only its id, key and hash are known."""
DISPLACED = (
    "report_id", "strategy_id", "config_version", "mode", "correlation_id", "market_id", "outcome_id", "side",
    "emitted_at", "opportunity_key",
)  # fmt: skip
BUCKET = 50_000
"""Approximate number of reports that are resolved together; it limits the memory of a worker."""


def ingest_on_cluster(
    engine: SparkEngine, settings: Settings, now: datetime, progress: Callable[[Progress], None] | None = None
) -> IngestResult:
    """Reads every new or changed snapshot of the bus into the data set; see `ingest`.

    All files of a tick are one transaction. The reports are written first, as a batch that does not count before the
    warehouse has recorded it. A batch that a crash leaves behind is overwritten by the next tick.
    """
    return Ingest(engine.connection, settings, now, progress).run(partial(_read_on_cluster, engine))


def _read_on_cluster(
    engine: SparkEngine, run: Ingest, files: list[SnapshotFile], known: dict[str, Reading]
) -> list[Failure]:
    return _Cluster(engine, run).read(files, known)


class _Cluster:
    """The reading of one ingest on a cluster."""

    def __init__(self, engine: SparkEngine, run: Ingest) -> None:
        self._engine = engine
        self._connection = engine.connection
        self._run = run

    def read(self, files: list[SnapshotFile], known: dict[str, Reading]) -> list[Failure]:
        """Adds waiting reports whose time has come, then reads the files; returns the files that cannot be read."""
        if not files and not self._run.any_due():
            return []
        batch, first = next_numbers(self._connection)
        numbered = dict(enumerate(files, first))
        with self._engine.scope():
            self._engine.create_mapped(
                "readings", list(self._tasks(numbered)), worker.read_parts, worker.READING
            )
            failures = [(numbered.pop(number), error) for number, error in self._broken().items()]
            if numbered or self._run.any_due():
                with transaction(self._connection):
                    self._settle(numbered, known, batch)
        return failures

    def _tasks(self, numbered: Mapping[int, SnapshotFile]) -> Iterator[dict[str, object]]:
        """The tasks of the workers: for each file one for its hash, and one for each of its sections."""
        latest = (self._run.latest - worker.EPOCH) // worker.MICROSECOND
        for number, file in numbered.items():
            path = self._run.path(file)
            sections = [task.section for task in tasks_of(path, file.size)]
            for part, section in [(worker.HASH, None), *enumerate(sections)]:
                yield {
                    "snapshot_id": number,
                    "path": str(path),
                    "size": file.size,
                    "mtime_ns": file.mtime_ns,
                    "latest": latest,
                    "part": part,
                    "start": section.start if section else None,
                    "end": section.end if section else None,
                }

    def _broken(self) -> dict[int, UnreadableError]:
        rows = self._engine.rows(
            "SELECT snapshot_id, reason, sentence FROM readings WHERE what = 'unreadable'"
        )
        return {number: UnreadableError(reason, sentence) for number, reason, sentence in rows}

    def _settle(self, numbered: Mapping[int, SnapshotFile], known: dict[str, Reading], batch: int) -> None:
        """Stores the reports of files that could be read, and records what became of their lines."""
        ledger = Ledger(self._connection, batch)
        engine = self._engine
        ledger.tallies = {number: Tally(file.path) for number, file in numbered.items()}
        self._count_parts(ledger)
        ledger.quarantine(engine.frame(load(__package__, "bad")))
        ledger.wait(
            worker.from_arrow(engine.frame(load(__package__, "arrivals", columns=ARRIVAL, what="early")))
        )
        due = ledger.take_due(self._run.latest).select(*worker.REPORT)
        engine.warehouse.create_temp("due", f"SELECT {', '.join(due.columns)} FROM early_reports WHERE false")
        append(self._connection, "due", due)
        engine.share("due")
        self._judge(ledger, batch)
        hashes = dict(engine.rows("SELECT snapshot_id, raw FROM readings WHERE what = 'hash'"))
        readings = [reading_of(file, hashes[number], known, number) for number, file in numbered.items()]
        self._run.record(ledger, readings, batch)
        engine.refresh()
        self._connection.execute("DELETE FROM reports_elsewhere")
        engine.insert("reports_elsewhere", "SELECT count(*), max(emitted_at) FROM reports")
        self._run.result.add(ledger, len(readings), sum(reading.changed for reading in readings), batch)
        self._run.report(Ledger(self._connection, batch), 0)

    def _count_parts(self, ledger: Ledger) -> None:
        """Adds up the counts of the sections, and finds how many lines of a file come before each section."""
        parts: dict[tuple[int, int], int] = {}
        for number, part, lines, size, skipped in self._engine.rows(
            "SELECT snapshot_id, part, lines, bytes, skipped FROM readings WHERE what = 'part'"
        ):
            if (tally := ledger.tallies.get(number)) is None:
                continue
            tally.lines += lines
            tally.skipped.update(json.loads(skipped))
            ledger.bytes += size
            parts[number, part] = parts.get((number, part), 0) + lines
        offsets, before, last = [], 0, None
        for (number, part), lines in sorted(parts.items()):
            before, last = (before if number == last else 0), number
            offsets.append((number, part, before))
            before += lines
        self._engine.warehouse.create_temp(
            "offsets",
            "SELECT NULL::INTEGER AS snapshot_id, NULL::INTEGER AS part, NULL::BIGINT AS lines_before WHERE false",
        )
        if offsets:
            self._connection.executemany("INSERT INTO offsets VALUES (?, ?, ?)", offsets)
        self._engine.share("offsets")

    def _judge(self, ledger: Ledger, batch: int) -> None:
        """Divides the arrivals: those with a unique key are stored, the others are resolved together with the same
        key."""
        engine = self._engine
        columns = ", ".join(worker.REPORT)
        arrived = load(__package__, "arrivals", columns=ARRIVAL, what="report")
        engine.create_view("arrivals", f"{arrived} UNION ALL SELECT {columns} FROM due")
        engine.create_temp("repeated", load(__package__, "repeated"))
        engine.warehouse.create_temp("lost", load(__package__, "lost"))
        engine.share("lost")
        contested = engine.create_temp(
            "contested", load(__package__, "contested", columns=columns, lost=LOST)
        )
        engine.create_judged("judged", "contested", contested // BUCKET + 1, worker.judge, worker.JUDGED)
        engine.store(batch, load(__package__, "kept", columns=columns))
        for number, reports in engine.rows(
            "SELECT snapshot_id, count(*) FROM stored_batch GROUP BY snapshot_id"
        ):
            ledger.add(number, "reports", reports)
        fates = "SELECT snapshot_id, count(*) FROM judged WHERE fate = 'duplicate' GROUP BY snapshot_id"
        for number, duplicates in engine.rows(fates):
            ledger.add(number, "duplicates", duplicates)
        displaced, replaced = self._fated("displaced"), self._fated("replaced")
        out = pl.concat([displaced, replaced]).select(DISPLACED).with_columns(batch=pl.lit(batch))
        append(self._connection, "displaced", out)
        ledger.take_back(displaced)
        ledger.repeat(replaced)
        ledger.quarantine_conflicts(self._fated("conflict"))

    def _fated(self, fate: str) -> pl.DataFrame:
        """The resolved reports with one result, in the form of the warehouse."""
        rows = self._engine.session.table("judged").where(f"fate = '{fate}'").toArrow()
        return worker.from_arrow(rows).drop("fate")
