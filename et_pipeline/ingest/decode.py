"""Blocks of NDJSON lines to columns: fast where a block proves clean, line by line where it does not.

msgspec decodes a whole block at once and strictly, but lets some things through: a document over two lines
or two on one, repeated keys, escaped NULs. Counting shows that a block holds none of them:

- no backslash: nothing is escaped, so every quotation mark delimits a key or a text;
- every line end stands between `}` and `{`, and there are as many documents as lines: one a line;
- as many quotation marks as the fields found need: no key stands twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import FIELDS, OWN_BOT_ID, STRINGS, Fault
from et_pipeline.ingest.documents import Document, Skipped, parse_line, too_long
from et_pipeline.ingest.sources import MAX_LINE_BYTES, LongLine

RAW_CHARACTERS = 4000
"""How much of a bad line quarantine keeps."""

TEXTS = (*STRINGS, "emitted_at")

_Metrics: Any = msgspec.defstruct(
    "_Metrics",
    [(name, float | None, None) for name in REPORT_METRICS],
    forbid_unknown_fields=True,
    gc=False,
)
_TYPES: dict[str, Any] = {"kind": Literal["OperationsReport"], "metrics": _Metrics}
_Report: Any = msgspec.defstruct(
    "_Report", [(name, _TYPES.get(name, str)) for name in FIELDS], forbid_unknown_fields=True, gc=False
)
_DECODER = msgspec.json.Decoder(_Report)
_TEXT_GETTERS = tuple(attrgetter(name) for name in TEXTS)
_METRIC_GETTERS = tuple(attrgetter(name) for name in REPORT_METRICS)
_METRICS_GETTER = attrgetter("metrics")

_QUOTES = 2 * (len(FIELDS) + len(TEXTS) + 1)
"""Quotation marks of a report without metrics: its keys, its texts and its kind."""
_OWN = OWN_BOT_ID.encode()
_LINE_END, _QUOTE, _OPEN, _CLOSE = b'\n"{}'


class BadLine(NamedTuple):
    """A line for quarantine: its number (from 1), why, and its text, shortened."""

    line: int
    reason: str
    sentence: str
    raw: str


class Rows:
    """Columns of reports that are collected line by line or block by block.

    Attributes:
        texts: Per field of `TEXTS` its values.
        metrics: Per metric its values.
        lines: Line numbers.
        extras: Canonical JSON of unknown fields by row number, where there are any.
        bad: Lines for quarantine.
        skipped: Lines of other kinds.
        count: Lines read.
    """

    def __init__(self) -> None:
        self.texts: tuple[list[str | None], ...] = tuple([] for _ in TEXTS)
        self.metrics: tuple[list[float | None], ...] = tuple([] for _ in REPORT_METRICS)
        self.lines: list[int] = []
        self.extras: dict[int, str] = {}
        self.bad: list[BadLine] = []
        self.skipped: Counter[str] = Counter()
        self.count = 0

    def add_block(self, block: bytes | LongLine, first: int) -> int:
        """Takes a block whose first line has the number `first`; returns how many lines it has."""
        if isinstance(block, LongLine):
            self._add_bad(first, too_long(block.length), block.head)
            lines = 1
        else:
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n")
            lines = self._add_clean(block, first) or self._add_lines(block, first)
        self.count += lines
        return lines

    def _add_clean(self, block: bytes, first: int) -> int:
        """Takes a block at once; returns 0 and takes nothing where it does not prove clean."""
        if len(block) > MAX_LINE_BYTES or b"\\" in block or _OWN in block:
            return 0
        text = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(text == _LINE_END)
        if not _one_object_a_line(text, ends):
            return 0
        try:
            reports = _DECODER.decode_lines(block)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return 0
        lines = len(ends) + int(text[-1] != _LINE_END)
        metrics, quotes = _metrics_of(reports)
        if len(reports) != lines or np.count_nonzero(text == _QUOTE) != quotes:
            return 0
        self._extend(reports, metrics, range(first, first + lines))
        return lines

    def _add_lines(self, block: bytes, first: int) -> int:
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for number, line in enumerate(lines, first):
            self._add_line(line, number)
        return len(lines)

    def _add_line(self, line: bytes, number: int) -> None:
        if b"\\" not in line and _OWN not in line and len(line) <= MAX_LINE_BYTES:
            try:
                reports = [_DECODER.decode(line)]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # the slow way says what is wrong with it
            else:
                metrics, quotes = _metrics_of(reports)
                if line.count(b'"') == quotes:
                    self._extend(reports, metrics, (number,))
                    return
        outcome = parse_line(line)
        if isinstance(outcome, Fault):
            self._add_bad(number, outcome, line)
        elif isinstance(outcome, Skipped):
            self.skipped[outcome.kind] += 1
        else:
            self._add_document(outcome, number)

    def _add_document(self, document: Document, number: int) -> None:
        if document.extra is not None:
            self.extras[len(self.lines)] = document.extra
        for name, texts in zip(TEXTS, self.texts, strict=True):
            texts.append(document.texts[name])
        for name, values in zip(REPORT_METRICS, self.metrics, strict=True):
            values.append(document.metrics[name])
        self.lines.append(number)

    def _add_bad(self, number: int, fault: Fault, line: bytes) -> None:
        self.bad.append(BadLine(number, fault.reason, fault.sentence, raw_text(line)))

    def _extend(self, reports: list[Any], metrics: list[list[float | None]], numbers: Iterable[int]) -> None:
        for column, getter in zip(self.texts, _TEXT_GETTERS, strict=True):
            column.extend(map(getter, reports))
        for values, found in zip(self.metrics, metrics, strict=True):
            values.extend(found)
        self.lines.extend(numbers)


def _one_object_a_line(text: NDArray[np.uint8], ends: NDArray[np.intp]) -> bool:
    """Whether every line end stands between `}` and `{` (the last one may end the text), and `{` begins it."""
    inner = ends[:-1] if len(ends) and ends[-1] == len(text) - 1 else ends
    return bool(text[0] == _OPEN and (text[ends - 1] == _CLOSE).all() and (text[inner + 1] == _OPEN).all())


def _metrics_of(reports: list[Any]) -> tuple[list[list[float | None]], int]:
    """The metrics as columns, and the quotation marks that the reports need."""
    objects = list(map(_METRICS_GETTER, reports))
    columns = [list(map(getter, objects)) for getter in _METRIC_GETTERS]
    reported = len(reports) * len(columns) - sum(column.count(None) for column in columns)
    return columns, len(reports) * _QUOTES + 2 * reported


def raw_text(line: bytes) -> str:
    """A line as quarantine keeps it: bytes that are not UTF-8 as escapes, shortened."""
    text = line[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    return text if len(text) <= RAW_CHARACTERS else text[:RAW_CHARACTERS] + "…"
