"""The fast way through lines that all look alike: one regular expression proves them, a split takes them apart.

An emitter writes its reports with the same keys in the same order. From one sound line a template is learned:
a regular expression for exactly this form (keys, order, JSON types, no escapes). A line that it matches is
strict JSON with nothing repeated, so cutting it at its quotation marks gives its values. Lines it does not
match are for the exact reader (`documents`); a template decides about speed, never about what is accepted.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import KIND, OWN_BOT_ID
from et_pipeline.ingest.documents import TEXTS, Document, parse_line
from et_pipeline.ingest.sources import MAX_LINE_BYTES

MAX_TEMPLATES = 12

_TEXT = r'"[^"\\\x00-\x1f]+"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_KEY = re.compile(r"[A-Za-z0-9_]{1,60}")
_STYLES = ((",", ":"), (", ", ": "))
_AROUND_NUMBERS = " :,}"
_BOM = b"\xef\xbb\xbf"
_TRIES = 20
_WORTH_A_TEMPLATE = 64


class Template(NamedTuple):
    """A form of lines. When such a line is cut at its quotation marks, each value is a piece of its own.

    Attributes:
        pattern: Regular expression of the whole line.
        texts: The piece each text field stands in.
        metrics: The piece each of its metrics stands in, with the punctuation around it.
        unknown: The piece each unknown field stands in; all of them are texts.
    """

    pattern: str
    texts: dict[str, int]
    metrics: dict[str, int]
    unknown: dict[str, int]

    @property
    def pieces(self) -> set[int]:
        """Every piece that holds a value."""
        return {*self.texts.values(), *self.metrics.values(), *self.unknown.values()}

    def take(self, pieces: pl.DataFrame) -> pl.DataFrame:
        """Texts, metrics (null where the form has none), `extra` and `line` of lines of this form."""
        texts = [pl.col(_name(self.texts[name])).alias(name) for name in TEXTS]
        metrics = [
            pl.col(_name(self.metrics[name])).str.strip_chars(_AROUND_NUMBERS).cast(pl.Float64).alias(name)
            if name in self.metrics
            else pl.lit(None, pl.Float64).alias(name)
            for name in REPORT_METRICS
        ]
        return pieces.select(*texts, *metrics, self._extra().alias("extra"), "line")

    def _extra(self) -> pl.Expr:
        """The unknown fields as canonical JSON: no text of this form needs an escape."""
        if not self.unknown:
            return pl.lit(None, pl.String)
        items = [
            pl.concat_str(pl.lit(f'"{name}":"'), _name(piece), pl.lit('"'))
            for name, piece in sorted(self.unknown.items())
        ]
        return pl.concat_str(pl.lit("{"), pl.concat_str(items, separator=","), pl.lit("}"))


def learn(line: bytes) -> Template | None:
    """The form of a line; None where it is no report, or too odd to be worth a template."""
    if b"\\" in line or not isinstance(parse_line(line), Document):
        return None
    document: dict[str, Any] = json.loads(line)
    if not all(map(_KEY.fullmatch, document)):
        return None
    forms = (_form(document, comma, colon) for comma, colon in _STYLES)
    return next((form for form in forms if form and re.fullmatch(form.pattern, line.decode())), None)


def _form(document: dict[str, Any], comma: str, colon: str) -> Template | None:
    form = Template("", {}, {}, {})
    items: list[str] = []
    key = 1  # the piece that the key at hand stands in; piece 0 is the opening brace
    for name, value in document.items():
        if name == "metrics":
            if not value.keys() <= set(REPORT_METRICS) or None in value.values():
                return None
            form.metrics.update({metric: key + 3 + 2 * position for position, metric in enumerate(value)})
            numbers = comma.join(f'"{metric}"{colon}{_NUMBER}' for metric in value)
            items.append(f'"metrics"{colon}\\{{{numbers}\\}}')
            key += 2 + 2 * len(value)
            continue
        if not isinstance(value, str):
            return None
        if name != "kind":
            (form.texts if name in TEXTS else form.unknown)[name] = key + 2
        items.append(f'"{name}"{colon}' + (f'"{KIND}"' if name == "kind" else _TEXT))
        key += 4
    return (
        form._replace(pattern=f"^\\{{{comma.join(items)}\\}}$") if set(TEXTS) == form.texts.keys() else None
    )


class Alike(NamedTuple):
    """What templates took out of a chunk.

    Attributes:
        rows: Per template texts, metrics, `extra` and `line` (from 0) of the lines that match it.
        others: The lines that match none: `line` and `text` (null where empty).
    """

    rows: list[pl.DataFrame]
    others: pl.DataFrame


def read_alike(chunk: bytes, lines: int, templates: list[Template]) -> Alike | None:
    """Takes the lines of a chunk that match a template.

    Args:
        chunk: Whole lines.
        lines: How many.
        templates: The forms known so far; the chunk's own are added, up to `MAX_TEMPLATES`.

    Returns:
        What was taken and what is left; None where the chunk as a whole cannot be taken apart like this
        (bytes that are not UTF-8, for one), though smaller chunks of it may.
    """
    if chunk.startswith(_BOM):
        return None
    try:
        text = _cut(chunk, "\x01", [0]).to_series()
        if len(text) != lines:
            return None
        groups, others = _grouped(text, templates, may_be_own=OWN_BOT_ID.encode() in chunk)
        if not groups:
            return Alike([], others)
        used = set[int]().union(*(template.pieces for template, _ in groups))
        pieces = _cut(chunk, '"', sorted(used))
    except PolarsError:
        return None
    if len(pieces) != lines:
        return None
    templates.sort(key=lambda known: -sum(len(numbers) for template, numbers in groups if template == known))
    pieces = pieces.with_columns(line=pl.int_range(lines, dtype=pl.Int64))
    whole = len(groups) == 1 and others.is_empty()
    rows = [template.take(pieces if whole else pieces[numbers]) for template, numbers in groups]
    beyond = pl.any_horizontal(pl.col(*REPORT_METRICS).is_infinite().any())
    if any(found.select(beyond).item() for found in rows):
        return None  # a number of hundreds of digits
    return Alike(rows, others)


def _grouped(
    text: pl.Series, templates: list[Template], *, may_be_own: bool
) -> tuple[list[tuple[Template, pl.Series]], pl.DataFrame]:
    """The numbers of the lines that match each template, and the lines that match none."""
    groups: list[tuple[Template, pl.Series]] = []
    left = pl.DataFrame({"line": pl.int_range(len(text), dtype=pl.Int64, eager=True), "text": text})
    position = 0
    while len(left):
        if position == len(templates) and not _learn_from(left["text"], templates, new=bool(groups)):
            break
        template = templates[position]
        position += 1
        matches = pl.col("text").str.contains(template.pattern) & (
            pl.col("text").str.len_bytes() <= MAX_LINE_BYTES
        )
        if may_be_own:
            matches &= ~pl.col("text").str.contains(OWN_BOT_ID, literal=True)
        marked = left.select("line", "text", matches=matches.fill_null(value=False))
        ours = marked["line"].filter(marked["matches"])
        if len(ours):
            groups.append((template, ours))
            left = marked.filter(~pl.col("matches")).drop("matches")
    return groups, left


def _learn_from(text: pl.Series, templates: list[Template], *, new: bool) -> bool:
    """Adds the form of the first line that has one; not for the sake of a few lines."""
    if len(templates) >= MAX_TEMPLATES or (new and len(text) < _WORTH_A_TEMPLATE):
        return False
    for line in text.head(_TRIES).drop_nulls():
        form = learn(line.encode())
        if form is not None and form not in templates:
            templates.append(form)
            return True
    return False


def _cut(chunk: bytes, separator: str, pieces: list[int]) -> pl.DataFrame:
    """Cuts every line at a separator: the pieces asked for, null where a line has fewer."""
    return (
        pl.scan_csv(
            chunk,
            separator=separator,
            quote_char=None,
            has_header=False,
            schema={_name(piece): pl.String for piece in range(pieces[-1] + 1)},
            truncate_ragged_lines=pieces != [0],
            missing_columns="insert",
            extra_columns="raise" if pieces == [0] else "ignore",
        )
        .select(_name(piece) for piece in pieces)
        .collect()
    )


def _name(piece: int) -> str:
    return f"p{piece}"
