"""What a stage asks of an engine, and the engine that is the warehouse itself."""

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
    """Runs queries over the tables of the warehouse, wherever their rows lie.

    Attributes:
        connection: The warehouse: plans, progress and cells are there with every engine.
        local: Whether the rows lie in the warehouse: then pairs are brought up to date where they lie.
            Elsewhere an experiment with anything new is paired from scratch.
    """

    connection: duckdb.DuckDBPyConnection
    local: bool

    @property
    def warehouse(self) -> DuckDBEngine:
        """The engine of the warehouse: plans, progress and cells are there, wherever the other rows lie."""

    def scope(self) -> AbstractContextManager[None]:
        """Temporary tables and views that are made inside are dropped at its end, here and in the warehouse.

        One that an outer scope made belongs to that one, also where it is replaced inside. After an error nothing
        is dropped: the transaction that made them is rolled back. What is made outside of any scope lives as long
        as the connection.
        """

    def share(self, *tables: str) -> None:
        """Lets the engine read small tables of the warehouse, as they are now."""

    def create_temp(self, name: str, text: str) -> int:
        """Writes a query's rows into a temporary table, replacing an earlier one; returns their number."""

    def create_view(self, name: str, text: str) -> None:
        """Gives a query a name, replacing an earlier one of the name."""

    def insert(self, table: str, text: str, *, by_name: bool = False) -> int:
        """Appends a query's rows to a table, its columns by their order or by their names; returns their number."""

    def delete(self, table: str, condition: str) -> None:
        """Deletes the rows of a table that a condition holds for."""

    def delete_returning(self, name: str, table: str, columns: str, condition: str) -> int:
        """Deletes rows and writes some of their columns into a temporary table; returns their number."""

    def drop(self, name: str) -> None:
        """Frees a temporary table before its scope ends."""

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
        self._scopes: list[dict[str, str]] = [{}]  # the first one is the connection's own

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
        """Nothing to do: they are here."""

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
        """See `Engine`. Row numbers are noted first, so that the condition is looked at once."""
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
        """Nothing to note: pairs and unmatched reports are here."""

    def _note(self, name: str, kind: str) -> None:
        if not any(name in made for made in self._scopes):
            self._scopes[-1][name] = kind

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
