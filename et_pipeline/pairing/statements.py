"""Runs the stage's queries: each `.sql` file is one SELECT, so that another engine can run it as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from et_pipeline.resources import sql

if TYPE_CHECKING:
    import duckdb


def query(name: str, **fragments: object) -> str:
    """The text of `<name>.sql` with its placeholders filled in."""
    return sql.load(__package__, name).format(**fragments)


def keep(connection: duckdb.DuckDBPyConnection, name: str, text: str) -> int:
    """Keeps a query's rows in a temporary table, replacing an earlier one; returns their number."""
    return _count(connection, f"CREATE OR REPLACE TEMP TABLE {name} AS\n{text}")


def insert(connection: duckdb.DuckDBPyConnection, table: str, text: str) -> int:
    """Appends a query's rows to a table; returns their number."""
    return _count(connection, f"INSERT INTO {table}\n{text}")


def delete(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> int:
    """Deletes the rows of a table that a condition holds for; returns their number."""
    return _count(connection, f"DELETE FROM {table} WHERE {condition}")


def drop(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Frees temporary tables."""
    for name in names:
        connection.execute(f"DROP TABLE IF EXISTS temp.{name}")


def _count(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
