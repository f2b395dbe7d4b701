"""The strict reader on the workers of a cluster: the same `read_snapshot`, from tasks to Arrow rows.

Every worker needs this package, and the report bus under the same path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import BELOW, OPTIONAL, STRINGS
from et_pipeline.ingest.ingest import content_hash
from et_pipeline.ingest.reader import Batch, read_snapshot
from et_pipeline.ingest.resolve import resolve
from et_pipeline.ingest.sources import Section, UnreadableError, refuse_changed

EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
KEYS = ("report_key", "opportunity_key", "content_hash")
"""The keys of a report: unsigned here and signed in Spark, with the same bits."""
HASH = -1
"""Number of a task's section that means: compute the hash of the file instead of reading lines."""

_TYPES = {
    "STRING": pa.string(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
REPORT = {
    **dict.fromkeys(STRINGS, "STRING"),
    "emitted_at": "TIMESTAMP",
    BELOW: "INT",
    **dict.fromkeys(OPTIONAL, "STRING"),
    **dict.fromkeys(REPORT_METRICS, "DOUBLE"),
    "extra": "STRING",
    **dict.fromkeys(KEYS, "BIGINT"),
    "line": "BIGINT",
    "snapshot_id": "INT",
}
"""The columns of a report on the cluster, and their types in Spark."""
READING = REPORT | {
    "part": "INT",
    "what": "STRING",
    "reason": "STRING",
    "sentence": "STRING",
    "raw": "STRING",
    "lines": "BIGINT",
    "bytes": "BIGINT",
    "skipped": "STRING",
}
"""The columns of a task's result; `what` is `report`, `early` (a report that has to wait), `bad`, `part` (counts),
`hash` or `unreadable`."""
JUDGED = REPORT | {"fate": "STRING"}
ROWS = 50_000
"""Largest number of rows of an Arrow batch."""


def read_parts(tasks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Reads sections of snapshots; the result for a file that cannot be read is one row with the reason."""
    for batch in tasks:
        for task in batch.to_pylist():
            for frame in _read(task):
                yield from _arrow(frame, READING).to_batches(max_chunksize=ROWS)


def _read(task: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    path, latest = Path(task["path"]), EPOCH + task["latest"] * MICROSECOND
    own = [pl.lit(task[name], pl.Int32).alias(name) for name in ("snapshot_id", "part")]
    try:
        if task["part"] == HASH:
            yield pl.DataFrame({"what": ["hash"], "raw": [content_hash(path)]}).with_columns(own)
        else:
            section = None if task["end"] is None else Section(task["start"], task["end"])
            for batch in read_snapshot(path, section):
                yield from (frame.with_columns(own) for frame in _accounted(batch, latest))
        refuse_changed(path, (task["size"], task["mtime_ns"]))
    except UnreadableError as error:
        row = {"what": ["unreadable"], "reason": [error.reason], "sentence": [error.sentence]}
        yield pl.DataFrame(row).with_columns(own)


def _accounted(batch: Batch, latest: datetime) -> Iterator[pl.DataFrame]:
    early = pl.col("emitted_at") > latest
    yield batch.reports.with_columns(what=pl.when(early).then(pl.lit("early")).otherwise(pl.lit("report")))
    yield batch.bad.with_columns(what=pl.lit("bad"))
    counts = {"lines": [batch.lines], "bytes": [batch.size], "skipped": [json.dumps(batch.skipped)]}
    yield pl.DataFrame({"what": ["part"], **counts})


def judge(rows: pa.Table) -> pa.Table:
    """Decides what becomes of arrivals, among all reports with the same keys, as `resolve` does in the warehouse."""
    frame = from_arrow(rows)
    arrivals = frame.filter(source=2).sort("snapshot_id", "line").drop("source")
    stored = frame.filter(source=0).drop("source")
    outcome = resolve(arrivals, stored, frame.filter(source=1).select("report_id", "content_hash"))
    fates = {
        "kept": outcome.kept,
        "duplicate": outcome.duplicates,
        "conflict": outcome.conflicts,
        "displaced": outcome.displaced,
        "replaced": outcome.replaced,
    }
    return _arrow(pl.concat(part.with_columns(fate=pl.lit(fate)) for fate, part in fates.items()), JUDGED)


def from_arrow(rows: pa.Table | pl.DataFrame) -> pl.DataFrame:
    """Rows from the cluster in the form of the warehouse: times without a zone, unsigned keys."""
    frame = pl.DataFrame(rows)
    return frame.with_columns(
        pl.col(pl.Datetime).dt.replace_time_zone(None),
        *(pl.col(name).reinterpret(signed=False) for name in KEYS if name in frame.columns),
    )


def _arrow(frame: pl.DataFrame, columns: Mapping[str, str]) -> pa.Table:
    """Rows for the cluster: times with a zone, signed keys, and null for columns that a kind of row does not have."""
    frame = frame.with_columns(
        pl.col(pl.Datetime).dt.replace_time_zone("UTC"), pl.col(pl.UInt64).reinterpret(signed=True)
    )
    missing = [pl.lit(None).alias(name) for name in columns if name not in frame.columns]
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])
    return frame.with_columns(missing).select(*columns).to_arrow().cast(schema)
