"""Writes one snapshot file atomically: valid reports, with broken lines and other messages between them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import polars as pl
import zstandard

from et_pipeline.generator.broken import break_report, break_row
from et_pipeline.generator.lines import as_object, named, to_lines, to_rows
from et_pipeline.generator.scenario import Scenario

Format = Literal["ndjson", "ndjson.gz", "ndjson.zst", "parquet"]
FORMATS: tuple[Format, ...] = ("ndjson", "ndjson.gz", "ndjson.zst", "parquet")

CHUNK_ROWS = 100_000
GZIP_LEVEL = 3
ZSTD_LEVEL = 3


class Insertion(NamedTuple):
    """A line between the valid reports of a file.

    Attributes:
        after: Number of the report in the file that it follows.
        kind: Kind of defect, or the kind of another message.
        report_id: Its id.
        broken: Whether it is broken; if not, it is a message of another kind, which a reader skips.
        template: The valid report from which it is made, as a frame with one row.
    """

    after: int
    kind: str
    report_id: str
    broken: bool
    template: pl.DataFrame


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary stream into `path.tmp`, which is renamed to `path` at the end if there was no error."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def write_ndjson(
    path: Path, rows: pl.DataFrame, insertions: Sequence[Insertion], scenarios: Sequence[Scenario], seed: int
) -> None:
    """Writes reports and insertions as NDJSON; the ending of `path`'s name determines the compression.

    Args:
        path: Final name.
        rows: Reports of `build_reports`, with a column `scenario`.
        insertions: Sorted by `after`.
        scenarios: The scenarios.
        seed: Seed of the run.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_replacing(path))
        if path.name.endswith(".gz"):
            # Without name and time in the header, the same reports give the same bytes.
            zipped = gzip.GzipFile("", "wb", compresslevel=GZIP_LEVEL, fileobj=stream, mtime=0)
            stream = cast(BinaryIO, stack.enter_context(zipped))
        elif path.name.endswith(".zst"):
            compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
            stream = cast(BinaryIO, stack.enter_context(compressor.stream_writer(stream, closefd=False)))
        for piece in _pieces(rows, insertions, scenarios, seed):
            stream.write(piece)


def _pieces(
    rows: pl.DataFrame, insertions: Sequence[Insertion], scenarios: Sequence[Scenario], seed: int
) -> Iterator[bytes]:
    done = 0
    for insertion in insertions:
        until = min(insertion.after + 1, len(rows))
        yield from _sound(rows[done:until], scenarios, seed)
        done = max(done, until)
        yield _inserted_line(insertion, scenarios, seed)
    yield from _sound(rows[done:], scenarios, seed)


def _sound(rows: pl.DataFrame, scenarios: Sequence[Scenario], seed: int) -> Iterator[bytes]:
    for chunk in rows.iter_slices(CHUNK_ROWS):
        if len(chunk):
            lines = to_lines(named(chunk, scenarios, seed))
            yield lines.str.join("\n").item().encode() + b"\n"


def _inserted_line(insertion: Insertion, scenarios: Sequence[Scenario], seed: int) -> bytes:
    report = as_object(to_lines(named(insertion.template, scenarios, seed)).item())
    if insertion.broken:
        line = break_report(insertion.kind, report, insertion.report_id)
        return line if insertion.kind == "truncated_last" else line + b"\n"
    other = {name: report[name] for name in ("schema_version", "bot_id", "emitted_at")}
    message = {**other, "report_id": insertion.report_id, "kind": insertion.kind, "status": "ok"}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def write_parquet(
    path: Path, rows: pl.DataFrame, insertions: Sequence[Insertion], scenarios: Sequence[Scenario], seed: int
) -> None:
    """Writes reports and insertions as Parquet rows; see `write_ndjson`. Insertions are the last rows."""
    sound = to_rows(named(rows, scenarios, seed))
    inserted = [_inserted_row(insertion, scenarios, seed) for insertion in insertions]
    frame = pl.concat([sound, pl.DataFrame(inserted, schema=sound.schema)]) if inserted else sound
    with _replacing(path) as stream:
        frame.write_parquet(stream)


def _inserted_row(insertion: Insertion, scenarios: Sequence[Scenario], seed: int) -> dict[str, Any]:
    row = to_rows(named(insertion.template, scenarios, seed)).row(0, named=True)
    if insertion.broken:
        return break_row(insertion.kind, row, insertion.report_id)
    return {**row, "kind": insertion.kind, "report_id": insertion.report_id}
