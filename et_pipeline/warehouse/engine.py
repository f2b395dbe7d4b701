"""The interface of engines, on which stages run their queries, and the engine that is the warehouse itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import duckdb
    import polars as pl


class EngineError(RuntimeError):
    """The engine cannot be used; the message says why and what to do."""


class Engine(Protocol):
    """Runs queries over the tables of the warehouse, wherever their rows are stored.

    Attributes:
        connection: The warehouse; plans, progress and cells are stored there with every engine.
        local: Whether all rows are in the warehouse. If so, existing pairs are updated; elsewhere an experiment with
            new reports is paired from the beginning.
    """

    connection: duckdb.DuckDBPyConnection
    local: bool

    @property
    def warehouse(self) -> DuckDBEngine:
        """The engine of the warehouse, which has plans, progress and cells, wherever the other rows are stored."""

    def scope(self) -> AbstractContextManager[None]:
        """A scope: temporary tables and views that are made in it are dropped at its end, here and in the warehouse.

        A table of an outer scope still belongs to that scope if it is replaced in the inner one. After an error nothing
        is dropped, since the transaction that made the tables is rolled back. Tables that are made outside of any scope
        exist as long as the connection.
        """

    def share(self, *tables: str) -> None:
        """Makes the present rows of small tables of the warehouse available to the engine."""

    def create_temp(self, name: str, text: str) -> int:
        """Writes a query's rows into a temporary table, replacing one of the same name; returns their number."""

    def create_view(self, name: str, text: str) -> None:
        """Makes a temporary view of a query, replacing one of the same name."""

    def insert(self, table: str, text: str, *, by_name: bool = False) -> int:
        """Appends a query's rows to a table, with columns matched by order or by name; returns their number."""

    def delete(self, table: str, condition: str) -> None:
        """Deletes the rows of a table for which a condition holds."""

    def delete_returning(self, name: str, table: str, columns: str, condition: str) -> int:
        """Deletes rows and writes some of their columns into a temporary table; returns their number."""

    def drop(self, name: str) -> None:
        """Drops a temporary table before its scope ends."""

    def frame(self, text: str) -> pl.DataFrame:
        """The rows of a query, as columns."""

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def finish(self, experiments: Sequence[str]) -> None:
        """Records in the warehouse which pairs these experiments have now, inside the caller's transaction."""


class DuckDBEngine:
    """The engine that is the warehouse itself; everything happens in the caller's transaction."""

    local = True

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._scopes: list[dict[str, str]] = [{}]  # the first one is for tables outside of any scope

    @property
    def warehouse(self) -> DuckDBEngine:
        """See `Engine`."""
        return self

    @contextmanager
    def scope(self) -> Iterator[None]:
        """See `Engine`."""
        self._scopes.append({})
        try:
            yield
        except BaseException:
            self._scopes.pop()
            raise
        for name, kind in self._scopes.pop().items():
            self.connection.execute(f"DROP {kind} IF EXISTS temp.{name}")

    def share(self, *tables: str) -> None:
        """Does nothing, since the tables are in this engine already."""

    def create_temp(self, name: str, text: str) -> int:
        """See `Engine`."""
        self._note(name, "TABLE")
        return self._count(f"CREATE OR REPLACE TEMP TABLE {name} AS\n{text}")

    def create_view(self, name: str, text: str) -> None:
        """See `Engine`."""
        self._note(name, "VIEW")
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS\n{text}")

    def insert(self, table: str, text: str, *, by_name: bool = False) -> int:
        """See `Engine`."""
        return self._count(f"INSERT INTO {table}{' BY NAME' if by_name else ''}\n{text}")

    def delete(self, table: str, condition: str) -> None:
        """See `Engine`."""
        self.connection.execute(f"DELETE FROM {table} WHERE {condition}")

    def delete_returning(self, name: str, table: str, columns: str, condition: str) -> int:
        """See `Engine`. Row numbers are found first, so that the condition is evaluated only once."""
        rows = self.create_temp(name, f"SELECT rowid AS row_number, {columns} FROM {table} WHERE {condition}")
        self.delete(table, f"rowid IN (SELECT row_number FROM {name})")
        return rows

    def drop(self, name: str) -> None:
        """See `Engine`."""
        self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")

    def frame(self, text: str) -> pl.DataFrame:
        """See `Engine`."""
        import polars as pl

        return pl.DataFrame(self.connection.sql(text))

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        return self.connection.execute(text).fetchall()

    def finish(self, experiments: Sequence[str]) -> None:
        """Does nothing, since pairs and unmatched reports are in the warehouse already."""

    def _note(self, name: str, kind: str) -> None:
        if not any(name in made for made in self._scopes):
            self._scopes[-1][name] = kind

    def _count(self, statement: str) -> int:
        row = self.connection.execute(statement).fetchone()
        return int(row[0]) if row else 0


def refuse_another_engine(connection: duckdb.DuckDBPyConnection, *, local: bool) -> None:
    """Raises `EngineError` if the warehouse was filled with the other engine."""
    other = "reports_elsewhere" if local else "reports"
    if connection.execute(f"SELECT EXISTS (FROM {other})").fetchall() == [(True,)]:
        names = ("duckdb", "spark") if local else ("spark", "duckdb")
        raise EngineError(
            "ET_ENGINE is {!r}, but this data folder was filled with {!r}: set it back, or move warehouse/ "
            "away to ingest every snapshot again".format(*names)
        )
