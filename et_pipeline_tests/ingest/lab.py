"""Reports, snapshot files and an ingest on real tables, in few words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import polars as pl
import zstandard

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.ingest.decode import BadLine
from et_pipeline.ingest.ingest import ingest
from et_pipeline.ingest.reader import Batch, read_snapshot
from et_pipeline.ingest.results import IngestResult
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def report(report_id: str = "r1", **fields: Any) -> dict[str, Any]:
    """A sound report; `fields` replace or add."""
    return {
        "schema_version": "1.0",
        "report_id": report_id,
        "kind": "OperationsReport",
        "bot_id": "strat.line_shop",
        "strategy_id": "strat.line_shop",
        "mode": "live",
        "correlation_id": f"opportunity-{report_id}",
        "market_id": "mkt-1",
        "outcome_id": "YES",
        "side": "BUY",
        "emitted_at": "2026-11-01T12:00:00.250Z",
        "config_version": "3.2",
        "metrics": {"edge_bps": 12.5, "latency_ms": 3.25},
    } | fields


def line(document: object) -> bytes:
    """A document as a line without its end."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def ndjson(documents: Iterable[object]) -> bytes:
    """Documents as NDJSON."""
    return b"".join(line(document) + b"\n" for document in documents)


def compressed(path: Path, content: bytes) -> bytes:
    """Content as the ending of a file's name asks for."""
    if path.name.endswith(".gz"):
        return gzip.compress(content)
    if path.name.endswith(".zst"):
        return zstandard.ZstdCompressor().compress(content)
    return content


def write(path: Path, content: bytes) -> Path:
    """Writes NDJSON, compressed by the ending of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compressed(path, content))
    return path


def write_parquet(path: Path, documents: Iterable[Mapping[str, Any]], **columns: Any) -> Path:
    """Writes reports as Parquet rows."""
    rows = [
        {**document, "metrics": {name: document["metrics"].get(name) for name in REPORT_METRICS}}
        for document in documents
    ]
    pl.DataFrame(rows).with_columns(**columns).write_parquet(path)
    return path


class Read:
    """Everything the reader finds in a file, with the balance asserted."""

    def __init__(self, path: Path) -> None:
        self._take(list(read_snapshot(path)))

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> Self:
        """The same of batches that come from elsewhere than a file."""
        found = cls.__new__(cls)
        found._take(list(batches))
        return found

    def _take(self, batches: list[Batch]) -> None:
        self.lines = sum(batch.lines for batch in batches)
        self.bad = [BadLine(*row) for batch in batches for row in batch.bad.iter_rows()]
        self.skipped = {kind: n for batch in batches for kind, n in batch.skipped.items()}
        self.reports = [row for batch in batches for row in batch.reports.to_dicts()]
        for batch in batches:
            assert batch.lines == len(batch.reports) + len(batch.bad) + batch.skipped.total()
        numbers = [row["line"] for row in self.reports] + [bad.line for bad in self.bad]
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number <= self.lines for number in numbers)

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(bad.line, bad.reason) for bad in self.bad]

    @property
    def content(self) -> list[dict[str, Any]]:
        """The reports without where they stood."""
        return [{key: value for key, value in row.items() if key != "line"} for row in self.reports]


def read(tmp_path: Path, content: bytes, name: str = "x.ndjson") -> Read:
    """What the reader finds in this content."""
    return Read(write(tmp_path / name, content))


def run(settings: Settings, now: datetime = NOW, **options: Any) -> IngestResult:
    """One ingest into the settings' warehouse."""
    with open_warehouse(settings) as connection:
        return ingest(connection, settings, now, **options)


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Rows of the warehouse."""
    with open_warehouse(settings) as connection:
        return connection.execute(query).fetchall()
