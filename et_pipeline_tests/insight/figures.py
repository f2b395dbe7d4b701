"""Finds the numbers of a review page in the published database, in the columns that the page itself names.

Under each part of a page stands where its figures come from. These words are taken at their word here: each
number of the part has to be one of the values of those columns, of this experiment, at the moment the page
speaks of, written as the page writes figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from html.parser import HTMLParser

import duckdb

from et_pipeline.common import text

NUMBER = re.compile(
    r"(?<![\w.,·-])"  # not inside a name, a hash or another number
    r"[+−±]?(?:∞|\d[\d,]*(?:\.\d+)?(?:·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?)(?: %)?"
    r"(?![\w-]|[.,]\d)"
)
HASH = re.compile(r"\b[0-9a-f]{16,}…?")
NO_FIGURES = re.compile(
    r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)?)?"  # moments
    rf"|{HASH.pattern}|run [0-9a-f]{{8}}\b|https?://\S+"  # names of plans, evidence, runs and the UI
)
"""What is taken away before numbers are looked for."""
RULES = {
    "Effective sample size": {"10": "groups below which nothing is concluded (docs/statistics.md)"},
    "Blocks long enough": {
        "0.9": "autocorrelation above which a longer block is needed (docs/statistics.md)"
    },
    "Looks of the plan": {"30": "blocks with pairs before the first look (docs/statistics.md)"},
    "Split signed off": {"50 %": "share of the traffic above which a human is asked (the specification)"},
    "Opportunities replayed": {"10 %": "share without a replay above which nothing is concluded (docs)"},
    "Approved by humans": {"0": "no sign-off counts yet"},
    "are counted": {"90": "days of the portfolio's window; its table has them in microseconds"},
    "(primary)": {"0": "zero: no difference"},
    "Sample ratio": {"1,000": "e-value of the alarm (docs/statistics.md)"},
}
"""Limits of the method that stand on a page: fixed in the program, so in no table. By the part they stand in."""
AXES = ("pairs", "uplifts", "ratio", "path-", "drift-", "replay-gap")
"""Charts whose only numbers are ticks of their axes; the forest plot has none, and its numbers count."""


@dataclass
class Part:
    """A piece of a page with its own line of sources.

    Attributes:
        words: Its text.
        sources: The tables and columns it names.
    """

    words: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """A page as parts: cards, rows of the index, and lines of the checklist, each with what stands in it and where that comes from."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[Part] = []
        self.loose = Part()
        self._open: list[tuple[str, str]] = []
        self._inside: list[tuple[int, Part]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        attributes = dict(attrs)
        kind = f"{attributes.get('class') or ''} {attributes.get('aria-labelledby') or ''}"
        self._open.append((tag, kind))
        card = tag in ("section", "li") and "card" in kind.split()
        card |= tag == "tr" and "experiment" in kind.split()
        checked = tag == "li" and any("checks" in outer.split() for _, outer in self._open)
        if card or checked:
            self.parts.append(Part())
            self._inside.append((len(self._open), self.parts[-1]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, tag
        if self._inside and len(self._open) < self._inside[-1][0]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        part = self._inside[-1][1] if self._inside else self.loose
        kinds = [kind for _, kind in self._open]
        if {"style", "title", "desc", "summary"} & {tag for tag, _ in self._open}:
            return
        if any(kind.strip().startswith(f"chart {chart}") for kind in kinds for chart in AXES):
            return
        if (
            self._open
            and self._open[-1][0] == "code"
            and {"source", "from"} & {word for kind in kinds for word in kind.split()}
        ):
            part.sources.append(data)
        else:
            part.words.append(data)


def numbers(words: Iterable[str]) -> list[str]:
    """The numbers of a text, each as it is written."""
    found = []
    for piece in words:
        figures = NO_FIGURES.sub(" ", piece)
        found += [number[0].rstrip(",") for number in NUMBER.finditer(figures)]
    return found


def columns(sources: Iterable[str], tables: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """`verdicts.verdict, reason` as (table, column) pairs; a table alone is all its columns."""
    table = ""
    for name in re.findall(
        r"\b[a-z]\w*(?:\.\w+)?", " ".join(source for source in sources if not HASH.search(source))
    ):
        first, dot, column = name.partition(".")
        if dot:
            table = first
            assert column in tables[table], f"the page names {name}, which the database does not have"
            yield table, column
        elif name in tables:
            table = name
            yield from ((name, each) for each in tables[name])
        elif name != "by":
            assert name in tables[table], f"the page names {table}.{name}, which the database does not have"
            yield table, name


def written(column: str, value: object) -> Iterator[str]:
    """A value of the database in every way that a page may write it."""
    if isinstance(value, str):
        yield from numbers([value])
        yield from re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?", value)  # as JSON has it
    elif isinstance(value, bool) or value is None or isinstance(value, datetime):
        return
    elif isinstance(value, int | float):
        yield from (text.number(value, digits) for digits in (2, 3, 4, 5))
        yield from (text.signed(value, decimals) for decimals in range(9))
        yield text.percent(value)
        yield text.percent(1 - value)  # a confidence, from alpha
        yield text.number(-value)  # the limit, from a margin
        yield f"±{text.number(value)}"
        if column.endswith("_pct"):
            yield f"{text.number(value)} %"
        if isinstance(value, int):
            yield text.duration(value).split()[0]


class Database:
    """The values that the page of one experiment may show."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, experiment_id: str) -> None:
        self.connection, self.experiment_id = connection, experiment_id
        self.tables: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
        ).fetchall():
            self.tables.setdefault(table, []).append(column)

    def values(self, sources: list[str]) -> set[str]:
        found: set[str] = set()
        for table, column in columns(sources, self.tables):
            for (value,) in self.connection.execute(
                self._query(table, column), {"id": self.experiment_id}
            ).fetchall():
                found |= set(written(column, value))
        return found

    def _query(self, table: str, column: str) -> str:
        if table in (
            "interval_path",
            "replay_path",
        ):  # at the decision, or at the end of the newest closed block
            series = "metric" if table == "interval_path" else "metric, comparison"
            return (
                f"SELECT arg_max(p.{column}, as_of) FROM {table} AS p LEFT JOIN verdicts AS v USING (experiment_id) "
                "WHERE experiment_id = $id AND as_of <= coalesce(v.decided_as_of, as_of) "
                f"AND (closed OR v.decided_as_of IS NOT NULL) GROUP BY {series}"
            )
        if table in ("sample_ratio", "drift"):  # the newest
            by = ", metric" if table == "drift" else ""
            return f"SELECT arg_max({column}, as_of) FROM {table} WHERE experiment_id = $id GROUP BY experiment_id{by}"
        if table == "replays" and column not in ("experiment_id", "as_of"):  # of all blocks
            return f"SELECT sum({column})::BIGINT FROM replays WHERE experiment_id = $id"
        if table == "unmatched":  # counted
            return f"SELECT count(*) FROM unmatched WHERE experiment_id = $id GROUP BY arm, {column}"
        if table == "deliveries":
            return f"SELECT d.{column} FROM deliveries AS d JOIN events USING (event_id) WHERE experiment_id = $id"
        if "experiment_id" in self.tables[table]:
            return f'SELECT "{column}" FROM {table} WHERE experiment_id = $id'
        return f'SELECT "{column}" FROM {table} WHERE $id IS NOT NULL'


def allowed(part: Part, database: Database) -> set[str]:
    """What may stand in a part: the values of the columns it names, and the limits of the method."""
    said = " ".join(part.words)
    rules = {number for name, known in RULES.items() if name in said for number in known}
    return database.values(part.sources) | rules


def not_found(page: Page, database: Database) -> list[tuple[str, str]]:
    """Numbers that are not in the columns their part names, each with the beginning of its part."""
    missing = []
    for part in page.parts:
        known = allowed(part, database)
        said = " ".join(" ".join(part.words).split())[:100]
        missing += [(number, said) for number in numbers(part.words) if number not in known]
    return missing
