"""Functions that all commands use: settings, output for people or as JSON, and errors that say what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from et_pipeline.common.numbers import finite
from et_pipeline.common.sql import row_dicts
from et_pipeline.common.untrusted import shown
from et_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console
    from rich.table import Table

WIDTH_OF_FILES = 150
"""Width of the output in characters if it is not a terminal, so that tables in files and logs have enough room."""

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


class CommandError(Exception):
    """A request that is refused or failed: its message goes to stderr, the exit status is 1."""


def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_env()


def console(*, quiet: bool = False) -> Console:
    """The output for tables and sentences for people; with colours only on a terminal.

    Args:
        quiet: Whether to print nothing, since a JSON document is printed instead.
    """
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES, quiet=quiet)


def table() -> Table:
    """An empty table in the style that all tables have."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")


def print_table(console: Console, table: Table) -> None:
    """Prints a table, or, if the terminal is too narrow for it, each of its rows as lines of name and value.

    In a table that is too narrow, ids would be broken and numbers cut off.
    """
    from rich.measure import Measurement
    from rich.table import Table

    if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
        console.print(table)
        return
    for row in zip(*(column.cells for column in table.columns), strict=True):
        lines = Table.grid(padding=(0, 2))
        lines.add_column(style="bold")
        lines.add_column(overflow="fold")
        for column, cell in zip(table.columns, row, strict=True):
            lines.add_row(column.header, cell)
        console.print(lines)
        console.print()


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal's stderr what is being done, and removes it at the end; without a terminal it shows nothing.

    Args:
        first: The text that is shown until the yielded function is called with another one.
    """
    if not sys.stderr.isatty():
        yield lambda words: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True, highlight=False).status(escape(first)) as line:
        yield lambda words: line.update(escape(words))


def experiment_ids(incomplete: str) -> list[str]:
    """The experiment ids with a prefix, for the completion in a shell; empty if nothing was published yet."""
    try:
        with analyst_database(settings()) as connection:
            found = rows(connection, "SELECT experiment_id FROM experiments ORDER BY 1")
    except (CommandError, SettingsError):
        return []
    return [row["experiment_id"] for row in found if row["experiment_id"].startswith(incomplete)]


def plain(text: object) -> str:
    """Text that others wrote, escaped so that a terminal shows it as it is, without colours, links or cursor
    movements."""
    from rich.markup import escape

    return escape(shown(str(text)))


def print_json(document: object) -> None:
    """Prints one JSON document on stdout, in ASCII, so that it is the same in every encoding."""
    sys.stdout.write(json.dumps(document, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat() + ("Z" if isinstance(value, datetime) and value.tzinfo is None else "")
    raise TypeError(f"{type(value).__name__} is no JSON value")


def require(path: Path) -> None:
    """Checks that a file exists that only a tick makes.

    Raises:
        CommandError: It does not exist.
    """
    if not path.exists():
        raise CommandError(f"{path} does not exist yet; run a tick first: et tick")


@contextmanager
def analyst_database(present: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published database, read-only. Reading it never waits for a tick, and no tick waits for it.

    Raises:
        CommandError: Nothing was published yet, it cannot be opened, or another version of the program wrote it.
    """
    import duckdb

    from et_pipeline.warehouse.connection import migrations, open_copy, version_of

    require(present.analyst_path)
    try:
        connection = open_copy(present.analyst_path)
    except duckdb.Error as error:
        raise CommandError(
            f"{present.analyst_path} cannot be opened: {error}; remove the file, then publish it again: et tick --force"
        ) from error
    try:
        connection.execute("SET enable_progress_bar = false")  # it would print into --json documents
        present_version, known = version_of(connection), migrations()[-1][0]
        if present_version != known:
            what = (
                "is newer than this program; install the newer version of the program"
                if present_version > known
                else "was published by an older version of this program; publish it again: et tick --force"
            )
            raise CommandError(
                f"{present.analyst_path} {what} (schema of the file: {present_version}, of the program: {known})"
            )
        yield connection
    finally:
        connection.close()


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries; NaN and infinity, which JSON cannot represent, become None."""
    found = row_dicts(connection, query, parameters or {})
    return [{name: finite(value) for name, value in row.items()} for row in found]
