"""Parquet files of the analyst database, for people who use other tools; only changed files are written.

Small tables are one file each. Tables that grow with the reports are one file per day, so that a tick writes only
the days that changed. A fingerprint of the rows of each file is stored, to find out what changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import duckdb

from et_pipeline.common.files import PUBLIC_FILE, public_folder, write_atomically
from et_pipeline.insight.dictionary import TECHNICAL
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_copy

BY_DAY = {
    "reports": ("emitted_at", "report_key, content_hash, emitted_below_us, snapshot_id, line"),
    "pairs": (
        "pair_time",
        "experiment_id, opportunity_key, control_report_id, variant_report_id, edge_bps_uplift",
    ),
    "unmatched": ("emitted_at", "experiment_id, arm, reason, report_id"),
    "cells": ("block", "experiment_id, metric, block, market_id, n, sum, m2"),
}
"""Tables with one file per day: the column with the time, and the columns that show whether a row changed.

The other columns of a report are determined by its content hash and `emitted_below_us`, those of a pair by its two
report ids.
"""
NOTES = ".written.json"


class Export(NamedTuple):
    """The result of writing the files.

    Attributes:
        folder: The folder of the files.
        written: Files that were written, relative to the folder.
        kept: Number of files that were not changed.
    """

    folder: Path
    written: list[str]
    kept: int


def write_parquet(settings: Settings) -> Export:
    """Updates the Parquet files from the published analyst database.

    Each file is replaced atomically. After a crash each file is the old or the new one, and the next run writes the
    rest.

    Raises:
        FileNotFoundError: Nothing has been published yet.
    """
    if not settings.analyst_path.exists():
        raise FileNotFoundError(
            f"{settings.analyst_path} is not there yet: it is published at the end of a tick"
        )
    folder = settings.published_dir / "parquet"
    before = _notes(folder)
    with open_copy(settings.analyst_path) as connection:
        now = _fingerprints(connection)
        stale = [
            name for name in sorted(now) if before.get(name) != now[name] or not (folder / name).exists()
        ]
        for name in stale:
            _write(connection, folder, name)
    for name in set(before) - set(now):
        (folder / name).unlink(missing_ok=True)
    write_atomically(folder / NOTES, json.dumps(now, sort_keys=True).encode())
    return Export(folder, stale, len(now) - len(stale))


def _fingerprints(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """A fingerprint of the rows of each file."""
    tables = connection.execute(
        "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal "
        "UNION ALL "
        "SELECT view_name, comment FROM duckdb_views() WHERE database_name = current_database() AND NOT internal"
    ).fetchall()
    found: dict[str, str] = {}
    for table, comment in tables:
        if (comment or "").startswith(TECHNICAL):
            continue
        if table in BY_DAY:
            time, columns = BY_DAY[table]
            days = connection.execute(
                f"SELECT {time}::DATE::VARCHAR AS day, count(*), sum(hash({columns})) FROM {table} GROUP BY day"
            ).fetchall()
            found |= {f"{table}/{day}.parquet": f"{count}-{total}" for day, count, total in days}
        else:
            row = connection.execute(f'SELECT count(*), sum(hash(t)) FROM "{table}" AS t').fetchone()
            found[f"{table}.parquet"] = "-".join(map(str, row or ()))
    return found


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, name: str) -> None:
    path = folder / name
    for made in (folder, path.parent):
        public_folder(made)
    temporary = path.with_name(f"{path.name}.tmp")
    table, _, day = name.removesuffix(".parquet").partition("/")
    rows = f'SELECT * FROM "{table}"'
    if day:
        time = BY_DAY[table][0]
        rows += f" WHERE {time} >= DATE '{day}' AND {time} < DATE '{day}' + INTERVAL 1 DAY ORDER BY {time}"
    target = str(temporary).replace("'", "''")
    connection.execute(f"COPY ({rows}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    temporary.chmod(PUBLIC_FILE)
    temporary.replace(path)


def _notes(folder: Path) -> dict[str, str]:
    """The stored fingerprints of the files; empty if they are missing or damaged, so that all files are written
    again."""
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
