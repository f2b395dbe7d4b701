"""SQL: loads the `.sql` files that lie beside the module that runs them, and writes rows and frames into DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import polars as pl


NO_ID = "''"
"""An id that no experiment has."""
_SECTION = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(package: str | None, name: str, **fragments: object) -> str:
    """The text of one named section of a package's `.sql` files, with its placeholders filled in.

    A file contains the queries of one subject; each section begins with a line `-- name: <name>`, as in the package
    aiosql. A brace that does not belong to a placeholder is written twice.

    Args:
        package: The caller's `__package__`.
        name: The section.
        fragments: SQL for each placeholder `{name}` of the section. Values are parameters of the query instead.

    Raises:
        KeyError: The package has no such section, or `fragments` lacks a placeholder.
    """
    return sections(package or "")[name].format(**fragments)


@cache
def sections(package: str) -> dict[str, str]:
    """Every named section of a package's `.sql` files.

    Raises:
        ValueError: Two sections of the package have the same name, or a file has no section.
    """
    found: dict[str, str] = {}
    for file in files(package).iterdir():
        if not file.name.endswith(".sql"):
            continue
        _, *parts = _SECTION.split(file.read_text(encoding="utf-8"))
        named = dict(zip(parts[::2], parts[1::2], strict=True))
        if not named or len(named) * 2 != len(parts) or found.keys() & named.keys():
            raise ValueError(f"{package}/{file.name}: each query needs a line '-- name: <name>' of its own")
        found |= named
    return found


def among(experiments: Iterable[str]) -> str:
    """The condition that a row belongs to one of the experiments. Their ids are safe in SQL, see the pattern in `Plan`.

    The condition always begins with the column's name, so that a table's name and a dot can be put before it.
    """
    names = ", ".join(f"'{name}'" for name in experiments)
    return f"experiment_id IN ({names or NO_ID})"


def row_dicts(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> list[dict[str, Any]]:
    """The rows of a query as dictionaries by column name."""
    found = connection.execute(query, parameters)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def insert_row(connection: duckdb.DuckDBPyConnection, table: str, row: Mapping[str, object]) -> None:
    """Appends one row to a table, matched by column names; columns that are left out get their default."""
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))


def append(connection: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """Appends the rows of a frame to a table, matched by column names."""
    rows = ArrowStream(frame)  # noqa: F841 (DuckDB scans it by its name)
    connection.execute(f'INSERT INTO "{table}" BY NAME SELECT * FROM rows')


class ArrowStream:
    """Wraps a frame so that DuckDB reads its Arrow stream and does not need pyarrow.

    DuckDB recognises a polars frame and then requires pyarrow, although the Arrow stream is enough.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def replace_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Replaces all rows of a table that has one row per experiment.

    Only the rows that changed are written, so that only these change in the published copy.

    Args:
        connection: The warehouse, inside the caller's transaction.
        table: The table; its key is `experiment_id`.
        rows: All rows that the table has afterwards.
    """
    before = {row["experiment_id"]: row for row in row_dicts(connection, f"FROM {table}")}
    after = {row["experiment_id"]: row for row in rows}
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    connection.execute(f"DELETE FROM {table} WHERE {among(changed)}")
    for name in changed:
        if name in after:
            insert_row(connection, table, after[name])
