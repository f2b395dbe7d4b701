"""The fast reader, for lines of the same form: it divides a line into pieces, puts them together again, and compares.

An emitter writes its reports with the same keys in the same order. From one valid line a template is learned: its keys,
their order and the punctuation are constants, with places for the values between them. Each further line is divided at
its quotation marks. If the template, filled with the line's own pieces, gives the same line again, and the pieces are
valid values (texts without escapes or control characters, JSON numbers), then the line is strict JSON without repeated
keys, and the pieces are its values. All other lines are read by the exact reader (`documents`). So a template decides
how fast a line is read, never whether it is accepted.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from et_pipeline.common.untrusted import CONTROL_CHARACTERS
from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import LABELS, MAX_LABEL, OWN_BOT_ID, TRADED
from et_pipeline.ingest.documents import TEXTS, Document, parse_line
from et_pipeline.ingest.sources import MAX_LINE_BYTES, controls, line_ends

MAX_TEMPLATES = 12

_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?"
_KEY = re.compile(r"[A-Za-z0-9_]{1,60}")
_AROUND_NUMBERS = " :,}"
_PUNCTUATED = re.compile(rf"([{_AROUND_NUMBERS}]*){_NUMBER}([{_AROUND_NUMBERS}]*)")
_BOM = b"\xef\xbb\xbf"
_TRIES = 20
_WORTH_A_TEMPLATE = 64


class Template(NamedTuple):
    """A form of lines. If such a line is divided at its quotation marks, each value is a piece of its own.

    Attributes:
        parts: The line as constant texts and, between them, the numbers of the pieces that contain values.
        numbers: Regular expression that the pieces with metrics match when they are put together.
        texts: The number of the piece with each text field.
        metrics: The number of the piece with each metric and the punctuation around it.
        unknown: The number of the piece with each unknown field; all of these are texts.
        labels: The number of the piece with each label.
        decision: The decision in all lines of this form, since it determines whether there are metrics.
    """

    parts: tuple[str | int, ...]
    numbers: str
    texts: dict[str, int]
    metrics: dict[str, int]
    unknown: dict[str, int]
    labels: dict[str, int]
    decision: str = TRADED

    @property
    def pieces(self) -> set[int]:
        """The numbers of all pieces that contain a value."""
        named = (self.texts, self.metrics, self.unknown, self.labels)
        return {piece for pieces in named for piece in pieces.values()}

    def matches(self) -> pl.Expr:
        """Whether `text`, with its pieces, is a line of this form; null if it has too few pieces."""
        filled = [pl.lit(part) if isinstance(part, str) else pl.col(_name(part)) for part in self.parts]
        is_same = pl.concat_str(filled) == pl.col("text")
        is_same &= (
            pl.col(_name(self.texts["bot_id"])) != OWN_BOT_ID
        )  # the exact reader counts our own reports
        for piece in self.labels.values():  # the exact reader says what is wrong with others
            text = pl.col(_name(piece)).str
            is_same &= text.len_chars().is_between(1, MAX_LABEL) & ~text.contains(CONTROL_CHARACTERS)
        if not self.metrics:
            return is_same
        return is_same & pl.concat_str(map(_name, self.metrics.values())).str.contains(self.numbers)

    def take(self, pieces: pl.DataFrame) -> pl.DataFrame:
        """Texts, `decision`, metrics (null where the form has none), `extra`, `line` of lines of this form."""
        texts = [pl.col(_name(self.texts[name])).alias(name) for name in TEXTS]
        metrics = [
            pl.col(_name(self.metrics[name])).str.strip_chars(_AROUND_NUMBERS).cast(pl.Float64).alias(name)
            if name in self.metrics
            else pl.lit(None, pl.Float64).alias(name)
            for name in REPORT_METRICS
        ]
        return pieces.select(
            *texts, pl.lit(self.decision).alias("decision"), *metrics, self._extra().alias("extra"), "line"
        )

    def _extra(self) -> pl.Expr:
        """Labels and unknown fields as canonical JSON: no text of this form needs an escape."""
        fields = {name: _quoted(piece) for name, piece in self.unknown.items()}
        if self.labels:
            fields[LABELS] = _json_object({name: _quoted(piece) for name, piece in self.labels.items()})
        return _json_object(fields) if fields else pl.lit(None, pl.String)


def _quoted(piece: int) -> pl.Expr:
    return pl.concat_str(pl.lit('"'), _name(piece), pl.lit('"'))


def _json_object(fields: dict[str, pl.Expr]) -> pl.Expr:
    items = [pl.concat_str(pl.lit(f'"{name}":'), value) for name, value in sorted(fields.items())]
    return pl.concat_str(pl.lit("{"), pl.concat_str(items, separator=","), pl.lit("}"))


def learn(line: bytes) -> Template | None:
    """The form of a line; None if it is not a report, or too unusual for a template."""
    if b"\\" in line or not isinstance(parse_line(line), Document):
        return None
    document: dict[str, Any] = json.loads(line)
    if not all(map(_KEY.fullmatch, document)):
        return None
    return _form(document, line.decode().split('"'))


def _form(document: dict[str, Any], pieces: list[str]) -> Template | None:
    form = Template((), "", {}, {}, {}, {})
    key = 1  # the number of the piece with the present key; piece 0 is the opening brace
    for name, value in document.items():
        if name == "metrics":
            if value is None or not value.keys() <= set(REPORT_METRICS) or None in value.values():
                return None
            form.metrics.update({metric: key + 3 + 2 * position for position, metric in enumerate(value)})
            key += 2 + 2 * len(value)
            continue
        if name == LABELS:
            if value is None or None in value.values():
                return None
            form.labels.update({label: key + 4 + 4 * position for position, label in enumerate(value)})
            key += 2 + 4 * len(value)
            continue
        if not isinstance(value, str):
            return None
        if name == "decision":
            form = form._replace(decision=value)
        elif name != "kind":
            (form.texts if name in TEXTS else form.unknown)[name] = key + 2
        key += 4
    around = [_PUNCTUATED.fullmatch(pieces[piece]) for piece in form.metrics.values()]
    if set(TEXTS) != form.texts.keys() or not all(around):
        return None
    numbers = "".join(f"{_literal(found[1])}{_NUMBER}{_literal(found[2])}" for found in around if found)
    return form._replace(parts=_parts(pieces, form.pieces), numbers=f"^{numbers}$")


def _literal(punctuation: str) -> str:
    return punctuation.replace("}", "\\}")


def _parts(pieces: list[str], values: set[int]) -> tuple[str | int, ...]:
    """The pieces of the line; those between values are put together again."""
    parts: list[str | int] = []
    constant = ""
    for number, piece in enumerate(pieces):
        constant += '"' if number else ""
        if number in values:
            parts += [constant, number]
            constant = ""
        else:
            constant += piece
    return (*parts, constant)


class MatchedLines(NamedTuple):
    """The result of reading a chunk with templates.

    Attributes:
        rows: For each template: texts, `decision`, metrics, `extra` and `line` (from 0) of the lines that match it.
        others: The lines that match no template: `line` and `text` (null if empty).
    """

    rows: list[pl.DataFrame]
    others: pl.DataFrame


def read_matching(chunk: bytes, lines: int, templates: list[Template]) -> MatchedLines | None:
    """Reads the lines of a chunk that match a template.

    Args:
        chunk: Whole lines.
        lines: Number of lines.
        templates: The known forms; new forms in the chunk are added, up to `MAX_TEMPLATES`.

    Returns:
        The lines that were read and those that were not. None if the chunk as a whole cannot be read in this way (for
        instance because of bytes that are not UTF-8); smaller parts of it may still be.
    """
    if chunk.startswith(_BOM):
        return None
    try:
        text = _cut(chunk, "\x01", [0]).to_series()
        if len(text) != lines:
            return None
        matched = _match_lines(chunk, text, templates)
    except PolarsError:
        return None
    if matched is None:
        return None
    beyond = pl.any_horizontal(pl.col(*REPORT_METRICS).is_infinite().any())
    if any(found.select(beyond).item() for found in matched.rows):
        return None  # a number of hundreds of digits
    return matched


def _match_lines(chunk: bytes, text: pl.Series, templates: list[Template]) -> MatchedLines | None:
    """Reads the lines with one template after the other; `templates` are then sorted by the number of their lines."""
    line = pl.int_range(pl.len(), dtype=pl.Int64)
    left = text.to_frame("text").with_columns(line=line, sound=_sound(chunk))
    rows: list[pl.DataFrame] = []
    taken: dict[tuple[str | int, ...], int] = {}
    pieces: set[int] = set()
    position = 0
    while len(left):
        if position == len(templates) and not _learn_from(left["text"], templates, new=bool(rows)):
            break
        template = templates[position]
        position += 1
        if not template.pieces <= pieces:
            pieces = pieces.union(*(known.pieces for known in templates))
            cut = _cut(chunk, '"', sorted(pieces))
            if len(cut) != len(text):
                return None
            if len(left) < len(text):
                cut = cut[left["line"]]
            left = pl.concat([left.select("line", "text", "sound"), cut], how="horizontal")
        matches = left.select((pl.col("sound") & template.matches()).fill_null(value=False)).to_series()
        if matches.any():
            ours = left if matches.all() else left.filter(matches)
            rows.append(template.take(ours))
            taken[template.parts] = len(ours)
            left = left.clear() if ours is left else left.filter(~matches)
    templates.sort(key=lambda known: -taken.get(known.parts, 0))
    return MatchedLines(rows, left.select("line", "text"))


def _sound(chunk: bytes) -> pl.Expr:
    """Whether a line is not too long and has neither a backslash nor a control character (its end does not count)."""
    text = pl.col("text").str
    sound = (text.len_bytes() <= MAX_LINE_BYTES) & ~text.contains("\\", literal=True)
    others = controls(chunk) - line_ends(chunk)
    if others and others != chunk.count(b"\r\n"):
        sound &= ~text.contains(r"[\x00-\x1f]")
    return sound


def _learn_from(text: pl.Series, templates: list[Template], *, new: bool) -> bool:
    """Adds the form of the first line that has one, unless there are only a few lines."""
    if len(templates) >= MAX_TEMPLATES or (new and len(text) < _WORTH_A_TEMPLATE):
        return False
    for line in text.head(_TRIES).drop_nulls():
        form = learn(line.encode())
        if form is not None and form not in templates:
            templates.append(form)
            return True
    return False


def _cut(chunk: bytes, separator: str, pieces: list[int]) -> pl.DataFrame:
    """Divides every line at a separator and returns the given pieces; they are null where a line has fewer."""
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
