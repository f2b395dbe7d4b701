"""The warehouse: the pipeline's own DuckDB file. One writer at a time opens it, and it is migrated to the newest
schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from et_pipeline.settings import Settings
from et_pipeline.warehouse.views import make_views

if TYPE_CHECKING:
    import duckdb

AUDIT_HEAD = "audit_head"
"""The file beside the warehouse with the newest row of its audit log."""
_DAMAGE = re.compile(r"corrupt|checksum|could not read enough bytes", re.IGNORECASE)
_MIGRATION = re.compile(r"(\d{4})_\w+\.sql")


class WarehouseError(RuntimeError):
    """The warehouse cannot be opened; the message says why and what to do."""


@contextmanager
def open_warehouse(settings: Settings, *, path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the warehouse for writing and closes it again.

    If another process has it open, this waits up to `settings.lock_timeout_s`. A lock ends with its process, so a
    killed tick blocks nobody.

    Args:
        settings: The place of the warehouse, and how much memory it may use.
        path: Another file than that of the settings, for a rebuild.

    Yields:
        A connection outside any transaction, with the newest schema.

    Raises:
        WarehouseError: Another process has it open, or it is corrupt, or newer than this program.
    """
    with locked(settings, path=path) as file, connected(settings, file) as connection:
        yield connection


@contextmanager
def locked(settings: Settings, *, path: Path | None = None, restoring: bool = False) -> Iterator[Path]:
    """Locks the warehouse's file against other writers, without opening it.

    Args:
        settings: The place of the warehouse, and how long to wait.
        path: Another file than that of the settings, for a rebuild.
        restoring: Whether the caller is the restore for which others have to wait.

    Yields:
        The file, which may not exist yet.

    Raises:
        WarehouseError: Another process has it open, or it is only half restored.
    """
    if settings.restoring_path.exists() and not restoring:
        raise WarehouseError(
            f"a restore was interrupted, and {settings.data_dir} is only partly restored; "
            f"finish it with the same command: et restore (see {settings.restoring_path})"
        )
    path = path or settings.warehouse_path
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"), timeout=settings.lock_timeout_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise WarehouseError(
            f"{path} has been in use by another tick for more than {settings.lock_timeout_s:g} s; "
            "wait for it to end, or raise ET_LOCK_TIMEOUT"
        ) from error
    try:
        yield path
    finally:
        lock.release()


@contextmanager
def connected(settings: Settings, path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens the warehouse's file, for a caller that has `locked` it.

    Raises:
        WarehouseError: It is corrupt, lost, or newer than this program.
    """
    import duckdb

    had_history = path.with_name(AUDIT_HEAD).exists()
    if had_history and not path.exists():
        raise WarehouseError(_lost(path))
    database, name = _database(path, settings.memory_limit), path.stem
    try:
        database.execute(f'ATTACH {quoted(path)} AS "{name}"')
    except duckdb.Error as error:
        raise WarehouseError(
            f"{path} cannot be opened; restore it from a backup (et restore): {error}"
        ) from error
    connection = database.cursor()
    try:
        connection.execute(f'USE "{name}"')
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")  # it would print into --json documents
        if had_history and version_of(connection) == 0:
            raise WarehouseError(_lost(path))
        migrate(connection)
        yield connection
    except duckdb.Error as error:
        if _DAMAGE.search(str(error)):
            raise WarehouseError(
                f"{path} is damaged; restore it from a backup (et restore): {error}"
            ) from error
        raise
    finally:
        connection.close()
        try:
            database.execute(f'DETACH "{name}"')
        except duckdb.Error:  # after a fatal error, DuckDB accepts no more commands
            _database.cache_clear()
            database.close()


@lru_cache(maxsize=1)
def _database(path: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """The DuckDB instance to which a warehouse's file is attached while it is open.

    It is kept between two openings, since to make an instance takes three times as long as to attach a file.
    """
    import duckdb

    return duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": str(path.with_suffix(".tmp")),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
    )


def open_copy(path: Path) -> duckdb.DuckDBPyConnection:
    """Opens a published copy for reading, however often it is replaced meanwhile.

    DuckDB opens a file twice, first for its headers and then for its blocks. If the file is replaced in between, the
    two do not belong together, and opening may end in an error; then the new file is opened.

    Raises:
        duckdb.Error: It cannot be opened.
        FileNotFoundError: It does not exist.
    """
    import duckdb

    def stamp() -> tuple[int, int]:
        found = path.stat()
        return found.st_ino, found.st_mtime_ns

    while True:
        before = stamp()
        try:
            connection = duckdb.connect(str(path), read_only=True)
        except duckdb.Error:
            if stamp() == before:
                raise
        else:
            if stamp() == before:
                return connection
            connection.close()


def quoted(path: Path) -> str:
    """A path as an SQL string."""
    return "'" + str(path).replace("'", "''") + "'"


def version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The schema's version; 0 if there is none. It does not query the catalogue, which would read all of it."""
    import duckdb

    try:
        ((version,),) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchall()
    except duckdb.CatalogException:
        return 0
    return int(version)


def _lost(path: Path) -> str:
    """The message for a file that lost its content: DuckDB treats such a file as new, so history would silently be
    lost."""
    return (
        f"{path} is gone or empty, but {AUDIT_HEAD} beside it knows of a history: restore it from a backup "
        f"(et restore), or remove {AUDIT_HEAD} too to begin anew"
    )


def checkpointed(settings: Settings, path: Path) -> int:
    """Writes everything from the write-ahead log into the warehouse's file, for a caller that has `locked` it.

    Returns:
        The size of a block in bytes.

    Raises:
        WarehouseError: It cannot be opened, or its write-ahead log could not be written into its file.
    """
    log = path.with_name(f"{path.name}.wal")
    with connected(settings, path) as connection:
        connection.execute("CHECKPOINT")
        if log.exists() and log.stat().st_size:
            # A part of the log that a crash cut off is ignored by DuckDB, but it removes it only when something
            # changes.
            connection.execute("CREATE VIEW cut_off AS SELECT 1; DROP VIEW cut_off; CHECKPOINT")
        size = block_size(connection)
    if log.exists() and log.stat().st_size:
        raise WarehouseError(
            f"{path} still has a write-ahead log after a checkpoint; check whether another program has opened it"
        )
    return size


def block_size(connection: duckdb.DuckDBPyConnection) -> int:
    """The size of a block of the warehouse's file, in bytes."""
    ((size,),) = connection.execute(
        "SELECT block_size FROM pragma_database_size() WHERE database_name = current_database()"
    ).fetchall()
    return int(size)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """A transaction: it commits at the end, and rolls back if an error is raised."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """Number and text of every migration, in order."""
    folder = files(__package__ or "").joinpath("migrations")
    found = [(match[1], item) for item in folder.iterdir() if (match := _MIGRATION.fullmatch(item.name))]
    return tuple(
        (int(number), item.read_text(encoding="utf-8"))
        for number, item in sorted(found, key=lambda pair: pair[0])
    )


def migrate(connection: duckdb.DuckDBPyConnection) -> int:
    """Migrates the warehouse to the newest schema, one transaction per migration; the last one makes the views again.

    Returns:
        The schema's version now.

    Raises:
        WarehouseError: The warehouse was written by a newer program.
    """
    present = version_of(connection)
    if present == 0:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version "
            "(version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL)"
        )
    steps = migrations()
    newest = steps[-1][0]
    if present > newest:
        raise WarehouseError(
            f"the warehouse has schema version {present}, and this program knows versions up to {newest}: "
            "install the newer program, or restore a backup"
        )
    for number, text in steps:
        if number > present:
            with transaction(connection):
                connection.execute(text)
                # Only after the last migration: none of them reads a view, and to make the views after each one took
                # four fifths of the time that a new warehouse needs.
                if number == newest:
                    make_views(connection)
                connection.execute("INSERT INTO schema_version VALUES (?, now()::TIMESTAMP)", [number])
    return newest
