"""Converts chunks of NDJSON to columns: lines of the same form all at once, every other line by the exact reader."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import polars as pl

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import OPTIONAL, Fault
from et_pipeline.ingest.documents import TEXTS, Document, Skipped, parse_line, too_long
from et_pipeline.ingest.sources import LongLine, line_ends
from et_pipeline.ingest.templates import Template, read_matching

RAW_CHARACTERS = 4000
"""Number of characters of a bad line that are stored in quarantine."""

ROWS_SCHEMA = {
    **dict.fromkeys((*TEXTS, *OPTIONAL), pl.String),
    **dict.fromkeys(REPORT_METRICS, pl.Float64),
    "extra": pl.String,
    "line": pl.Int64,
}
"""The columns of reports before the rules are checked; `emitted_at` is still a text."""

_FEW_LINES = 64


class BadLine(NamedTuple):
    """A line for quarantine: its number (from 1), the reason, and its shortened text."""

    line: int
    reason: str
    sentence: str
    raw: str


class Rows:
    """Columns of reports, collected chunk by chunk.

    Attributes:
        bad: Lines for quarantine.
        skipped: Lines of other kinds.
        count: Lines read.
    """

    def __init__(self, templates: list[Template]) -> None:
        """Starts without rows; `templates` are the known forms of lines, to which new ones are added."""
        self.bad: list[BadLine] = []
        self.skipped: Counter[str] = Counter()
        self.count = 0
        self._templates = templates
        self._frames: list[pl.DataFrame] = []
        self._documents: list[tuple[Document, int]] = []

    def add_block(self, block: bytes | LongLine, first: int) -> int:
        """Adds a block whose first line has the number `first`; returns the number of its lines."""
        if isinstance(block, LongLine):
            self._add_bad(first, too_long(block.length), block.head)
            lines = 1
        else:
            lines = self._add_chunk(block, first)
        self.count += lines
        return lines

    def frame(self) -> pl.DataFrame:
        """The reports by line, with the columns `ROWS_SCHEMA`."""
        exact = [
            (*document.texts.values(), document.decision, *document.metrics.values(), document.extra, line)
            for document, line in self._documents
        ]
        frames = [*self._frames, pl.DataFrame(exact, schema=ROWS_SCHEMA, orient="row")]
        return pl.concat(frames).sort("line")

    def _add_chunk(self, chunk: bytes, first: int) -> int:
        lines = line_ends(chunk) + (not chunk.endswith(b"\n"))
        matched = read_matching(chunk, lines, self._templates) if lines > 1 else None
        if matched is not None:
            self._frames += [rows.with_columns(pl.col("line") + first) for rows in matched.rows]
            for number, text in matched.others.iter_rows():
                self._add_line((text or "").encode(), first + number)
        elif lines > _FEW_LINES:
            half = len(chunk) // 2
            middle = chunk.rfind(b"\n", 0, half) + 1 or chunk.find(b"\n", half, len(chunk) - 1) + 1
            done = self._add_chunk(chunk[:middle], first)
            self._add_chunk(chunk[middle:], first + done)
        else:
            for number, line in enumerate(chunk.removesuffix(b"\n").split(b"\n"), first):
                self._add_line(line, number)
        return lines

    def _add_line(self, line: bytes, number: int) -> None:
        outcome = parse_line(line)
        if isinstance(outcome, Fault):
            self._add_bad(number, outcome, line)
        elif isinstance(outcome, Skipped):
            self.skipped[outcome.kind] += 1
        else:
            self._documents.append((outcome, number))

    def _add_bad(self, number: int, fault: Fault, line: bytes) -> None:
        self.bad.append(BadLine(number, fault.reason, fault.sentence, raw_text(line)))


def raw_text(line: bytes) -> str:
    """A line in the form for quarantine: bytes that are not UTF-8 are escaped, and it is shortened."""
    text = line[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    return text if len(text) <= RAW_CHARACTERS else text[:RAW_CHARACTERS] + "…"
