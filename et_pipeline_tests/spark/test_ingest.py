"""Ingest on a cluster: the same accounting, quarantine, duplicates and conflicts as in the warehouse."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from et_pipeline.contracts.report import BELOW
from et_pipeline.defs.ingest import evaluate
from et_pipeline.ingest import workers
from et_pipeline.ingest.ingest import ingest
from et_pipeline.ingest.results import IngestResult
from et_pipeline.settings import Settings, SparkSettings
from et_pipeline.spark import worker as executor
from et_pipeline.spark.ingest import ingest_on_cluster
from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.ingest.lab import NOW, compressed, ndjson, report

pytestmark = pytest.mark.xdist_group("sail")
BOOKS = (
    "SELECT * EXCLUDE (ingested_at, mtime_ns, batch, snapshot_id) FROM snapshots",
    "SELECT * EXCLUDE (snapshot_id) FROM quarantine",
    "SELECT kind, sum(lines) FROM skipped GROUP BY ALL",
    "SELECT * EXCLUDE (batch) FROM displaced",
    "SELECT path, reason, sentence FROM unreadable",
    "SELECT * EXCLUDE (snapshot_id) FROM early_reports",
)


class Pair:
    """The same report bus, ingested into a warehouse and into a data set."""

    def __init__(self, folder: Path, url: str) -> None:
        self.local = Settings(data_dir=folder / "local")
        self.remote = Settings(data_dir=folder / "remote", spark=SparkSettings(url, f"file://{folder}/set"))
        self.write("keep.tmp", b"")

    def write(self, name: str, content: bytes) -> None:
        for settings in (self.local, self.remote):
            path = settings.report_bus_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(compressed(path, content))

    def ingest(self, now: datetime = NOW) -> tuple[IngestResult, IngestResult]:
        """Ingests on both sides, and holds all that is known afterwards against each other."""
        assert self.remote.spark is not None
        with open_warehouse(self.local) as local, open_warehouse(self.remote) as remote:
            here = ingest(local, self.local, now)
            with spark_engine(self.remote.spark, remote) as engine:
                there = ingest_on_cluster(engine, self.remote, now)
                for query in BOOKS:
                    assert rows(remote, query) == rows(local, query), query
                columns = [name for name in executor.REPORT if name != "snapshot_id"]
                stored = pl.DataFrame(local.sql(f"SELECT {', '.join(columns)} FROM reports"))
                found = executor.from_arrow(engine.session.table("reports").select(*columns).toArrow())
                assert found.sort("report_id").equals(stored.sort("report_id"))
                assert all(
                    check.passed for check in evaluate(engine, there) if check.severity.value == "ERROR"
                )
        return here, there


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"{query} ORDER BY ALL").fetchall()


def test_the_books_are_the_same_tick_after_tick(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECTION_BYTES", 2_000)
    pair = Pair(tmp_path, cluster)
    many = [report(f"r{number}", emitted_at=f"2026-11-0{number % 7 + 1}T12:00:00Z") for number in range(40)]
    broken = b'{"a": 1,}\n\n' + b"x" * 30 + b"\n"
    pair.write(
        "a.ndjson", ndjson(many[:20]) + broken + ndjson([*many[20:], {"kind": "RiskReport"}]) + b'{"cut'
    )
    pair.write("b.ndjson.gz", ndjson([many[3], many[3], report("c1"), report("c1", side="SELL")]))
    pair.write("bad.ndjson.zst", ndjson([report("z")]))
    for settings in (pair.local, pair.remote):
        path = settings.report_bus_dir / "bad.ndjson.zst"
        path.write_bytes(path.read_bytes()[:-3])
    here, there = pair.ingest()
    assert (there.lines, there.reports, there.duplicates, there.quarantined) == (
        here.lines, here.reports, here.duplicates, here.quarantined,
    )  # fmt: skip
    assert (
        there.duplicates == 2
        and there.reasons["conflict"] == 1
        and set(there.unreadable) == {"bad.ndjson.zst"}
    )

    earlier = [report(name, emitted_at="2026-10-30T00:00:00Z") for name in ("r1", "r2")]
    late = report("late", emitted_at="2026-10-01T00:00:00Z")
    pair.write(
        "c.ndjson", ndjson([*earlier, many[5], report("c1", side="SELL"), late, report("c1", market_id="m9")])
    )
    here, there = pair.ingest()
    assert there.displaced == here.displaced >= 2 and there.batches == [2]
    pair.write("a.ndjson", ndjson(many) + broken)
    _, there = pair.ingest()
    assert there.changed == 1 and there.displaced == 0
    assert pair.ingest()[1].files == 0


def test_reports_ahead_of_the_clock_wait_and_are_taken_in(cluster: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, cluster)
    early = [report(f"e{m}", emitted_at=(NOW + timedelta(minutes=m)).isoformat()) for m in (6, 8, 20)]
    pair.write("a.ndjson", ndjson([report("r1"), *early]))
    assert pair.ingest()[1].waiting == 3
    here, there = pair.ingest(NOW + timedelta(minutes=2))
    assert (there.due, there.files, there.batches) == (here.due, here.files, here.batches) == (1, 0, [2])
    pair.write("b.ndjson", ndjson([report("r2"), early[1], report("e20")]))
    here, there = pair.ingest(NOW + timedelta(minutes=5))
    assert there.due == here.due == 1
    assert there.batches == [3] and there.waiting == 0
    assert pair.ingest(NOW + timedelta(minutes=30))[1].due == 1


def test_digits_below_the_microsecond_are_kept_also_of_what_was_stored_without_them(
    cluster: str, tmp_path: Path
) -> None:
    """A data set from before has no such column, a copy of a report may have lost them on its way."""
    pair = Pair(tmp_path, cluster)
    cut = [report(f"r{number}", emitted_at="2026-11-01T12:00:00.250000Z") for number in range(3)]
    pair.write("a.ndjson", ndjson(cut))
    pair.ingest()
    for part in (tmp_path / "set" / "reports").rglob("*.parquet"):
        stored = pq.ParquetFile(part)
        # Spark writes times in a type of its own, and reads no other into such a column.
        own = any(stored.schema.column(i).physical_type == "INT96" for i in range(len(stored.schema.names)))
        pq.write_table(stored.read().drop_columns(BELOW), part, use_deprecated_int96_timestamps=own)
        part.with_name(f".{part.name}.crc").unlink(missing_ok=True)
    fine = [item | {"emitted_at": "2026-11-01T12:00:00.2500000005Z"} for item in cut]
    early = report("e", emitted_at=f"{(NOW + timedelta(minutes=6)).isoformat()[:19]}.000000001Z")
    pair.write("b.ndjson", ndjson([*fine, cut[0], early]))
    pair.write("c.ndjson", ndjson(cut))
    for found in pair.ingest():
        assert (found.duplicates, found.displaced, found.quarantined, found.waiting) == (4, 0, 0, 1)
    with open_warehouse(pair.remote) as connection:
        assert rows(connection, "SELECT path, reports, duplicates FROM snapshots") == [
            ("a.ndjson", 0, 3),
            ("b.ndjson", 3, 1),
            ("c.ndjson", 0, 3),
        ]
    assert pair.ingest(NOW + timedelta(minutes=2))[1].due == 1


def test_a_batch_that_a_crash_left_behind_counts_for_nothing(cluster: str, tmp_path: Path) -> None:
    pair = Pair(tmp_path, cluster)
    pair.write("a.ndjson", ndjson([report("r1")]))
    pair.ingest()
    left = tmp_path / "set" / "reports" / "batch=2" / "day=2026-11-05"
    left.mkdir(parents=True)
    part = next((tmp_path / "set" / "reports" / "batch=1").rglob("*.parquet"))
    (left / "part-0.parquet").write_bytes(part.read_bytes())
    assert pair.ingest()[1].files == 0
    pair.write("b.ndjson", ndjson([report("r2")]))
    assert pair.ingest()[1].reports == 1
