"""What a stage asks of an engine, and the engine that is the warehouse itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import duckdb
    import polars as pl


class EngineError(RuntimeError):
    """The engine cannot be used; the message says why and what to do."""


class Engine(Protocol):
    """Runs queries over the tables of the warehouse, wherever their rows lie.

    Attributes:
        connection: The warehouse: plans, progress and cells are there with every engine.
        local: Whether the rows lie in the warehouse: then pairs are brought up to date where they lie.
            Elsewhere an experiment with anything new is paired from scratch.
    """

    connection: duckdb.DuckDBPyConnection
    local: bool

    def send(self, *tables: str) -> None:
        """Lets the engine read small tables of the warehouse, as they are now."""

    def keep(self, name: str, text: str) -> int:
        """Keeps a query's rows in a temporary table, replacing an earlier one; returns their number."""

    def view(self, name: str, text: str) -> None:
        """Names a query, replacing an earlier one of the name."""

    def insert(self, table: str, text: str) -> int:
        """Appends a query's rows to a table; returns their number."""

    def delete(self, table: str, condition: str) -> None:
        """Deletes the rows of a table that a condition holds for."""

    def take(self, name: str, table: str, columns: str, condition: str) -> int:
        """Deletes like `delete`, and keeps some columns of what goes in a temporary table; returns its rows."""

    def drop(self, *names: str) -> None:
        """Frees temporary tables."""

    def drop_views(self, *names: str) -> None:
        """Takes names of queries away."""

    def frame(self, text: str) -> pl.DataFrame:
        """The rows of a query, as columns."""

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def finish(self, experiments: Sequence[str]) -> None:
        """Notes what became of these experiments' pairs, inside the caller's transaction."""


class DuckDBEngine:
    """The warehouse itself; everything stays in the caller's transaction."""

    local = True

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def send(self, *tables: str) -> None:
        """Nothing to do: they are here."""

    def keep(self, name: str, text: str) -> int:
        """See `Engine`."""
        return self._count(f"CREATE OR REPLACE TEMP TABLE {name} AS\n{text}")

    def view(self, name: str, text: str) -> None:
        """See `Engine`."""
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS\n{text}")

    def insert(self, table: str, text: str) -> int:
        """See `Engine`."""
        return self._count(f"INSERT INTO {table}\n{text}")

    def delete(self, table: str, condition: str) -> None:
        """See `Engine`."""
        self.connection.execute(f"DELETE FROM {table} WHERE {condition}")

    def take(self, name: str, table: str, columns: str, condition: str) -> int:
        """See `Engine`. Row numbers are noted first, so that the condition is looked at once."""
        rows = self.keep(name, f"SELECT rowid AS row_number, {columns} FROM {table} WHERE {condition}")
        self.delete(table, f"rowid IN (SELECT row_number FROM {name})")
        return rows

    def drop(self, *names: str) -> None:
        """See `Engine`."""
        for name in names:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")

    def drop_views(self, *names: str) -> None:
        """See `Engine`."""
        for name in names:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{name}")

    def frame(self, text: str) -> pl.DataFrame:
        """See `Engine`."""
        import polars as pl

        return pl.DataFrame(self.connection.sql(text))

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        return self.connection.execute(text).fetchall()

    def finish(self, experiments: Sequence[str]) -> None:
        """Nothing to note: pairs and unmatched reports are here."""

    def _count(self, statement: str) -> int:
        row = self.connection.execute(statement).fetchone()
        return int(row[0]) if row else 0


def refuse_another_engine(connection: duckdb.DuckDBPyConnection, *, local: bool) -> None:
    """Raises `EngineError` where the warehouse was filled with the other engine."""
    other = "reports_elsewhere" if local else "reports"
    if connection.execute(f"SELECT EXISTS (FROM {other})").fetchall() == [(True,)]:
        names = ("duckdb", "spark") if local else ("spark", "duckdb")
        raise EngineError(
            "ET_ENGINE is {!r}, but this data folder was filled with {!r}: set it back, or move warehouse/ "
            "away to ingest every snapshot again".format(*names)
        )
