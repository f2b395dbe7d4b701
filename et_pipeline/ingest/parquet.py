"""Reads Parquet snapshots: they have the same fields as NDJSON; `metrics` is a struct, `emitted_at` a text or a
time."""

from __future__ import annotations

import glob
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import FIELDS, KIND, OPTIONAL, OWN_BOT_ID, PASSED, STRINGS, TRADED
from et_pipeline.ingest.decode import RAW_CHARACTERS, ROWS_SCHEMA, BadLine
from et_pipeline.ingest.documents import Document, Skipped, judge
from et_pipeline.ingest.sources import ExpansionGuard, UnreadableError, unreadable

BATCH_ROWS = 50_000
MAX_GROUP_VALUES = 4 * 1024 * 1024
"""Largest number of values in a row group, since a row group is unpacked as a whole; usual ones have a million rows."""


class ParquetRows(NamedTuple):
    """Rows of a Parquet file before the schema checks them.

    Attributes:
        frame: Rows with valid types, with the columns `ROWS_SCHEMA`; `line` is the row number from 1.
        bad: Rows for quarantine.
        skipped: Rows of other kinds.
        lines: Rows read.
        size: Their size in memory, in bytes.
        raw: Returns the JSON text of a row by its number.
    """

    frame: pl.DataFrame
    bad: list[BadLine]
    skipped: Counter[str]
    lines: int
    size: int
    raw: Callable[[int], str]


def read_parquet(path: Path) -> Iterator[ParquetRows]:
    """Reads a Parquet snapshot in batches.

    Raises:
        UnreadableError: It does not exist any more, may not be read, or is not a valid Parquet file.
    """
    with (
        unreadable(path),
        path.open("rb") as file,
    ):  # opened here for a clear message about missing permissions
        size = os.fstat(file.fileno()).st_size
    _refuse_bomb(path, size)
    guard = ExpansionGuard(path, size)
    first = 1
    try:
        for frame in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=BATCH_ROWS):
            for part in frame.iter_slices(BATCH_ROWS):
                guard.count(_text_bytes(part), len(part))
                yield _rows(part, first)
                first += len(part)
    except PolarsError as error:
        raise UnreadableError("broken_parquet", _unsound(path, error)) from error


def _refuse_bomb(path: Path, size: int) -> None:
    """Reads from the file's metadata, before anything is unpacked, how large the unpacked data would be.

    This is necessary since a column of one repeated value takes only a few bytes, whatever its length.

    Raises:
        UnreadableError: It is larger than reports can be, a row group is too large for the memory, or the file is not
            valid Parquet.
    """
    import duckdb

    try:
        with duckdb.connect() as connection:
            [(values, largest)] = connection.execute(
                load(__package__, "parquet_values"), {"path": glob.escape(str(path))}
            ).fetchall()
    except duckdb.Error as error:
        raise UnreadableError("broken_parquet", _unsound(path, error)) from error
    ExpansionGuard(path, size).count(0, values)
    if largest > MAX_GROUP_VALUES:
        raise UnreadableError(
            "compression_bomb",
            f"{path.name} has a row group of {largest:,} values; allowed: {MAX_GROUP_VALUES:,}; "
            "write it with smaller row groups",
        )


def _unsound(path: Path, error: Exception) -> str:
    return f"{path.name} is not a valid Parquet file: {' '.join(str(error).split())[:200]}"


def _text_bytes(part: pl.DataFrame) -> int:
    """The total length of all texts; in the file a dictionary may store a text once for many rows."""
    texts = [part[name].str.len_bytes() for name, kind in part.schema.items() if kind == pl.String]
    texts += [part[name].bin.size() for name, kind in part.schema.items() if kind == pl.Binary]
    return sum(int(lengths.sum()) for lengths in texts)


def _rows(rows: pl.DataFrame, first: int) -> ParquetRows:
    def raw(line: int) -> str:
        text = json.dumps(rows.row(line - first, named=True), default=str, ensure_ascii=False)
        return text if len(text) <= RAW_CHARACTERS else text[:RAW_CHARACTERS] + "…"

    lines = pl.int_range(first, first + len(rows), dtype=pl.Int64, eager=True).alias("line")
    plain = _plain(rows)
    typed = _typed(rows.filter(plain)).with_columns(lines.filter(plain))
    bad: list[BadLine] = []
    skipped: Counter[str] = Counter()
    exact = []
    odd, moment = rows.filter(~plain), _moment(rows.schema.get("emitted_at"))
    if moment is not None:  # Python's times have no nanoseconds
        odd = odd.with_columns(moment.alias("emitted_at"))
    for line, row in zip(lines.filter(~plain), odd.iter_rows(named=True), strict=True):
        outcome = judge(_as_document(row))
        if isinstance(outcome, Document):
            exact.append(
                (*outcome.texts.values(), outcome.decision, *outcome.metrics.values(), outcome.extra, line)
            )
        elif isinstance(outcome, Skipped):
            skipped[outcome.kind] += 1
        else:
            bad.append(BadLine(line, outcome.reason, outcome.sentence, raw(line)))
    frame = pl.concat([typed, pl.DataFrame(exact, schema=ROWS_SCHEMA, orient="row")]).sort("line")
    return ParquetRows(frame, bad, skipped, len(rows), int(rows.estimated_size()), raw)


def _plain(rows: pl.DataFrame) -> pl.Series:
    """Which rows can be converted all at once: reports with columns of the right types and no unknown fields.

    It adds no columns to the rows, since any name of a new column might be the name of an unknown field.
    """
    schema = rows.schema
    metrics = schema.get("metrics")
    if not (
        all(schema.get(name) == pl.String for name in (*STRINGS, "kind"))
        and schema.get("decision", pl.String()) == pl.String
        and isinstance(metrics, pl.Struct)
        and all(field.name in REPORT_METRICS for field in metrics.fields)
        and all(field.dtype.is_float() or field.dtype.is_decimal() for field in metrics.fields)
        and _moment(schema.get("emitted_at")) is not None
    ):
        return pl.repeat(value=False, n=len(rows), eager=True)
    unknown = [name for name in rows.columns if name not in (*FIELDS, *OPTIONAL)]
    plain = (pl.col("kind") == KIND) & (pl.col("bot_id") != OWN_BOT_ID)
    plain &= pl.col("metrics").is_not_null() | (_decision(schema) == PASSED)
    plain &= pl.all_horizontal(pl.lit(value=True), *(pl.col(name).is_null() for name in unknown))
    return rows.select(plain.fill_null(value=False)).to_series()


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of `_plain` with the columns `ROWS_SCHEMA`, without `line`."""
    moment = _moment(rows.schema.get("emitted_at"))
    metrics = rows.schema.get("metrics")
    if rows.is_empty() or moment is None or not isinstance(metrics, pl.Struct):
        return pl.DataFrame(schema={name: kind for name, kind in ROWS_SCHEMA.items() if name != "line"})
    present = {field.name: field.dtype for field in metrics.fields}
    values = {name: pl.col("metrics").struct.field(name) for name in present}
    # A decimal is converted by way of its text, which gives the nearest floating-point number; a division rounds twice.
    exact = {name: values[name].cast(pl.String) for name, kind in present.items() if kind.is_decimal()}
    return rows.select(
        *STRINGS,
        moment.alias("emitted_at"),
        _decision(rows.schema).alias("decision"),
        *((values | exact).get(name, pl.lit(None)).cast(pl.Float64).alias(name) for name in REPORT_METRICS),
        pl.lit(None, pl.String).alias("extra"),
    )


def _decision(schema: pl.Schema) -> pl.Expr:
    return pl.col("decision").fill_null(TRADED) if "decision" in schema else pl.lit(TRADED)


def _moment(kind: pl.DataType | None) -> pl.Expr | None:
    """`emitted_at` as a text; None if its type is not a time with a time zone."""
    if kind == pl.String:
        return pl.col("emitted_at")
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        fraction = "%.9f" if kind.time_unit == "ns" else "%.6f"
        return pl.col("emitted_at").dt.convert_time_zone("UTC").dt.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z")
    return None


def _as_document(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the JSON object that has the same content."""
    document = {name: _as_json(value) for name, value in row.items()}
    moment, metrics = row.get("emitted_at"), row.get("metrics")
    if isinstance(moment, datetime):
        document["emitted_at"] = moment.isoformat(timespec="microseconds")
    if isinstance(metrics, dict):  # NaN and infinity stay numbers; the schema refuses them as out of bounds
        document["metrics"] = {
            n: v if n in REPORT_METRICS and isinstance(v, float) else _as_json(v) for n, v in metrics.items()
        }
    return document


def _as_json(value: Any) -> Any:
    """A value in the form of JSON; a value that JSON cannot represent becomes a text."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return str(value)
