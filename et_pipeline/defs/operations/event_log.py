"""Dagster's event log in SQLite files that stay open, instead of being opened again for each event."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.exc import DatabaseError

TABLES = """SELECT group_concat(sql, '; ') FROM
(SELECT sql FROM shared.sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'table' DESC)"""
"""What makes the tables of a file, and then their indexes."""
OPEN_FILES = 8
"""Number of files that stay open; a process that reads the events of more runs opens the others again."""


class OpenSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's default event log, in the same files, which stay open between two events.

    The default makes a new SQLAlchemy engine and connection for every statement. So each statement is compiled again,
    and whenever the last connection to a file is closed, SQLite's log is moved into the file. A tick writes some five
    hundred statements; with open files they take a third of the processor time. Both classes can use the same files
    at the same time, so a `dagster.yaml` may name either.

    A commit does not wait for the disk either (`synchronous = NORMAL`; SQLite's log protects the file from damage). If
    a process is killed, nothing is lost; after a power cut, the events of the last seconds may be missing in the UI.
    The pipeline's results do not depend on these events: the next tick records what is missing, and `publish_pending`
    delivers.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._from_yaml = inst_data
        self._connections: OrderedDict[str, sqlalchemy.Connection] = OrderedDict()
        self._found: set[str] = set()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """There is nothing to configure; the files are in the same place as those of Dagster's default."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> OpenSqliteEventLogStorage:
        """The storage of an instance; it is called while the instance is being made."""
        return cls(inst_data)

    def register_instance(self, instance: dg.DagsterInstance) -> None:
        """Opens the files of the instance, whose folder is not known before."""
        super().__init__(str(Path(instance.root_directory) / "history" / "runs"), self._from_yaml)
        super().register_instance(instance)

    def has_table(self, table_name: str) -> bool:
        """Whether Dagster has made a table."""
        return self._has(table_name, lambda: super(OpenSqliteEventLogStorage, self).has_table(table_name))

    def has_secondary_index(self, name: str) -> bool:
        """Whether Dagster has finished a migration of its rows."""
        return self._has(name, lambda: super(OpenSqliteEventLogStorage, self).has_secondary_index(name))

    def _has_asset_key_col_on_connection(self, conn: sqlalchemy.Connection, column_name: str) -> bool:
        ask = super()._has_asset_key_col_on_connection
        return self._has(f"asset_keys.{column_name}", lambda: ask(conn, column_name))

    def _has(self, name: str, ask: Callable[[], bool]) -> bool:
        """Whether something exists in the files. Dagster asks this with every event, so a positive answer is
        remembered."""
        if name not in self._found and ask():
            self._found.add(name)
        return name in self._found

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sqlalchemy.Connection]:
        with self._db_lock:
            connection = self._connection(shard)
            with connection.begin():
                yield connection

    def _connection(self, shard: str) -> sqlalchemy.Connection:
        connection = self._connections.pop(shard, None)
        if connection is None:
            engine = sqlalchemy.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=sqlalchemy.StaticPool,  # one connection, since `_db_lock` admits one thread at a time
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            sqlalchemy.event.listen(engine, "connect", _wait_for_no_disk)
            if not _has_tables(engine):
                self._make_tables(engine, shard)
            connection = engine.connect()
        self._connections[shard] = connection
        while len(self._connections) > OPEN_FILES:
            _close(self._connections.popitem(last=False)[1])
        return connection

    def _make_tables(self, engine: sqlalchemy.Engine, shard: str) -> None:
        """A run's file gets the tables of the index, in a twentieth of the time that Dagster takes to make them."""
        if shard != INDEX_SHARD_NAME:
            with (
                suppress(sqlite3.Error),  # there are some already, or another process makes them
                closing(
                    sqlite3.connect(self.path_for_shard(shard), timeout=SQLITE_BUSY_TIMEOUT_SECONDS)
                ) as file,
            ):
                file.execute("PRAGMA journal_mode = WAL")
                file.execute("ATTACH ? AS shared", [self.path_for_shard(INDEX_SHARD_NAME)])
                [(tables,)] = file.execute(TABLES).fetchall()
                file.executescript(
                    f"BEGIN IMMEDIATE; {tables}; "
                    "INSERT INTO alembic_version SELECT * FROM shared.alembic_version; COMMIT"
                )
                return
        self._initdb(engine)

    def wipe(self) -> None:
        """Closes the files and deletes all events."""
        self._close_files()
        self._found.clear()
        super().wipe()

    def dispose(self) -> None:
        """Closes the files."""
        super().dispose()
        self._close_files()

    def _close_files(self) -> None:
        while self._connections:
            _close(self._connections.popitem()[1])


def _close(connection: sqlalchemy.Connection) -> None:
    connection.close()
    connection.engine.dispose()


def _wait_for_no_disk(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")


def _has_tables(engine: sqlalchemy.Engine) -> bool:
    """Whether Dagster has made all its tables in a file; it writes their version last."""
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text("SELECT 1 FROM alembic_version")).first() is not None
    except DatabaseError:
        return False
