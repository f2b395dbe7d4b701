"""The data dictionary: every table and column of the analyst database, from the comments in the database.

`python -m et_pipeline.insight.dictionary > docs/data-dictionary.md` writes the page again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import load

if TYPE_CHECKING:
    import duckdb

TECHNICAL = "Technical: "
"""Beginning of the comment of a table that only the pipeline itself needs."""


class Column(NamedTuple):
    """One column of the analyst database.

    Attributes:
        table: The table it belongs to.
        table_comment: What a row of that table is.
        name: Its name.
        type: Its DuckDB type.
        comment: Its meaning and unit.
    """

    table: str
    table_comment: str | None
    name: str
    type: str
    comment: str | None


def columns(connection: duckdb.DuckDBPyConnection) -> list[Column]:
    """Every column of the database, tables in the order of the pipeline."""
    return [Column(*row) for row in connection.execute(load(__package__, "columns")).fetchall()]


def markdown(connection: duckdb.DuckDBPyConnection) -> str:
    """The data dictionary as a Markdown page.

    Args:
        connection: The warehouse or the analyst database.
    """
    tables: dict[str, list[Column]] = {}
    for column in columns(connection):
        tables.setdefault(column.table, []).append(column)
    for_analysts = [
        name for name, rows in tables.items() if not (rows[0].table_comment or "").startswith(TECHNICAL)
    ]
    lines = [
        "# Data dictionary",
        "",
        "The tables of `published/experiments.duckdb`, made from the comments in the database itself"
        " (`SELECT * FROM duckdb_columns()`). Times are UTC, stored as `TIMESTAMP`; an uplift is oriented so that"
        " **positive is good for the variant**. Sample queries: [query.md](query.md).",
        "",
        " · ".join(f"[`{name}`](#{name})" for name in for_analysts),
    ]
    for name, rows in tables.items():
        lines += [
            "",
            f"## {name}",
            "",
            rows[0].table_comment or "",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        lines += [f"| `{row.name}` | {row.type} | {_cell(row.comment)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def main() -> None:
    """Prints the data dictionary of an empty warehouse of this program."""
    import sys
    import tempfile
    from pathlib import Path

    from et_pipeline.settings import Settings
    from et_pipeline.warehouse.connection import open_warehouse

    with (
        tempfile.TemporaryDirectory() as folder,
        open_warehouse(Settings(data_dir=Path(folder))) as connection,
    ):
        sys.stdout.write(markdown(connection))


if __name__ == "__main__":
    main()
