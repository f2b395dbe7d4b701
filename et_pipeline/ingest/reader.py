"""The strict reader: converts one snapshot file to batches of columns and counts every line. It writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from et_pipeline.contracts.report import BELOW, faults, report_schema
from et_pipeline.ingest.decode import BadLine, Rows, raw_text
from et_pipeline.ingest.keys import add_keys
from et_pipeline.ingest.parquet import read_parquet
from et_pipeline.ingest.sources import LongLine, Read, Section, blocks, line_ends, opened
from et_pipeline.ingest.templates import Template
from et_pipeline.ingest.times import parse_times, picoseconds

BATCH_BYTES = 32 * 1024 * 1024

MAX_BAD_LINES = 20_000
SMALL_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"

BAD_LINES_SCHEMA = {"line": pl.Int64, "reason": pl.String, "sentence": pl.String, "raw": pl.String}


class Batch(NamedTuple):
    """A part of a snapshot; `lines == len(reports) + len(bad) + sum(skipped.values())`.

    Attributes:
        reports: Valid reports, with the columns of the warehouse's `reports` up to `line`.
        bad: Lines for quarantine: `line`, `reason`, `sentence`, `raw`.
        skipped: Number of lines of other kinds, by kind.
        lines: Number of lines read.
        size: Bytes of text read (for Parquet, size of its columns in memory).
    """

    reports: pl.DataFrame
    bad: pl.DataFrame
    skipped: Counter[str]
    lines: int
    size: int


def read_snapshot(path: Path, section: Section | None = None) -> Iterator[Batch]:
    """Reads a snapshot strictly.

    Args:
        path: File with one of the endings `SUFFIXES`.
        section: Reads only this part of a plain NDJSON file; line numbers then count from its first line.

    Yields:
        Batches in the file's order, each with about `BATCH_BYTES` of text, so that memory stays bounded.

    Raises:
        UnreadableError: The file as a whole cannot be read; the batches that were yielded before must be discarded.
    """
    if path.name.endswith(".parquet"):
        for rows in read_parquet(path):
            yield _judged(*rows)
        return
    with opened(path, section) as read:
        yield from read_lines(read, at_start=section is None or section.start == 0)


def read_lines(read: Read, *, at_start: bool = True) -> Iterator[Batch]:
    """Reads a stream of NDJSON; see `read_snapshot`. A byte order mark at its start is ignored."""
    templates: list[Template] = []
    rows, kept, first = Rows(templates), _Kept(), 1
    for number, found in enumerate(piece for block in blocks(read) for piece in _pieces(block)):
        block = found
        if at_start and number == 0 and not isinstance(block, LongLine):
            block = block.removeprefix(_BOM)
            if not block:
                continue
        kept.add(first, block)
        first += rows.add_block(block, first)
        if kept.size >= BATCH_BYTES or len(rows.bad) >= MAX_BAD_LINES:
            yield _finish_rows(rows, kept)
            rows, kept = Rows(templates), _Kept()
    if rows.count:
        yield _finish_rows(rows, kept)


def _pieces(block: bytes | LongLine) -> Iterator[bytes | LongLine]:
    """The block itself, or smaller blocks of whole lines if its lines are too short to be reports.

    A line in quarantine needs a hundred times as much memory as the single byte of an empty line.
    """
    if isinstance(block, LongLine) or line_ends(block) <= MAX_BAD_LINES:
        yield block
        return
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + SMALL_BYTES) + 1 or block.find(b"\n", start) + 1 or len(block)
        yield block[start:end]
        start = end


class _Kept:
    """The blocks of a batch, kept to show the text of a line that the schema refuses."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, bytes]] = []
        self._split: dict[int, list[bytes]] = {}
        self.size = 0

    def add(self, first: int, block: bytes | LongLine) -> None:
        if isinstance(block, LongLine):
            self.size += block.length
        else:
            self.size += len(block)
            self._blocks.append((first, block))

    def raw(self, line: int) -> str:
        first, block = next(pair for pair in reversed(self._blocks) if pair[0] <= line)
        if first not in self._split:
            self._split = {first: block.split(b"\n")}
        return raw_text(self._split[first][line - first].removesuffix(b"\r"))


def _finish_rows(rows: Rows, kept: _Kept) -> Batch:
    return _judged(rows.frame(), rows.bad, rows.skipped, rows.count, kept.size, kept.raw)


def _judged(
    frame: pl.DataFrame,
    bad: list[BadLine],
    skipped: Counter[str],
    lines: int,
    size: int,
    raw: Callable[[int], str],
) -> Batch:
    """Checks the rows against the schema: valid ones get their keys, the others go to quarantine."""
    times = frame["emitted_at"]
    frame = frame.with_columns(parse_times(times))
    found = faults(frame.drop("extra", "line"), report_schema(), times)
    frame = frame.with_columns(picoseconds(times).alias(BELOW))
    if found:
        numbers = frame["line"].gather(list(found)).to_list()
        bad = sorted(
            bad + [BadLine(n, *fault, raw(n)) for n, fault in zip(numbers, found.values(), strict=True)]
        )
        frame = frame.with_row_index("row").filter(~pl.col("row").is_in(list(found))).drop("row")
    quarantine = pl.DataFrame(bad, schema=BAD_LINES_SCHEMA, orient="row")
    return Batch(add_keys(frame), quarantine, skipped, lines, size)
