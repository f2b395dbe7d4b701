"""A warehouse with every migration and no rows, made once in a process: tests take copies of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import duckdb

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="et-migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(data_dir=folder)
    with open_warehouse(settings):
        pass
    return settings.warehouse_path


def put_warehouse(settings: Settings) -> None:
    """Puts a copy where the settings' warehouse is expected."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_template(), settings.warehouse_path)


def fill(connection: duckdb.DuckDBPyConnection) -> None:
    """Copies it into an empty database in memory."""
    connection.execute(f"ATTACH '{_template()}' AS template (READ_ONLY)")
    connection.execute("COPY FROM DATABASE template TO memory")
    connection.execute("DETACH template")
