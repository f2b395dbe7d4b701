"""What has to be the same after any crash, and what has to hold at any time."""

from __future__ import annotations

import difflib
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb

from et_pipeline_tests.registry import Registry

_RUN_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=Dagster run )[0-9a-f]{8}")


class KilledError(AssertionError):
    """What was found after a crash is not what it should be."""


def known(data: Path) -> dict[str, Any]:
    """Everything that has to be the same after any crash, part by part.

    What tells of the runs themselves is left out: run ids, that a run failed, when a message was sent and how
    often, when the schema was made.
    """
    found: dict[str, Any] = {}
    with duckdb.connect(str(data / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        for (table,) in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE NOT internal ORDER BY 1"
        ).fetchall():
            found[f"table {table}"] = connection.execute(
                _QUERIES.get(table, f"FROM {table} ORDER BY ALL")
            ).fetchall()
    found["published copy"] = _same_rows(data)
    for folder in ("outbox", "published/pages"):
        for path in sorted((data / folder).glob("*.*")):
            text = _RUN_ID.sub(b"", path.read_bytes())
            found[f"file {folder}/{path.name}"] = b"" if path.name.startswith(".") else text
    found["files"] = sorted(
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and path.relative_to(data).parts[0] not in ("dagster", "logs")
    )
    return found


_QUERIES = {
    "addressed": "FROM addressed WHERE source_id NOT IN (SELECT notice_id FROM notices WHERE topic = 'run_failed') "
    "ORDER BY ALL",
    "notices": "SELECT * EXCLUDE (seq) FROM notices WHERE topic <> 'run_failed' ORDER BY ALL",
    "schema_version": "SELECT version FROM schema_version ORDER BY 1",
    "deliveries": "SELECT event_id, destination, status FROM deliveries WHERE status = 'delivered' ORDER BY ALL",
}


def _same_rows(data: Path) -> str:
    """Whether analysts see what the warehouse holds, byte for byte."""
    warehouse, published = data / "warehouse" / "warehouse.duckdb", data / "published" / "experiments.duckdb"
    return "the warehouse" if warehouse.read_bytes() == published.read_bytes() else "another state"


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of the parts that are not the same, with the first rows of each."""
    return [
        f"{name}: {_first(expected.get(name), found.get(name))}"
        for name in sorted(set(expected) | set(found))
        if expected.get(name) != found.get(name)
    ]


def _first(expected: Any, found: Any) -> str:
    if isinstance(expected, list) and isinstance(found, list):
        missing = [row for row in expected if row not in found]
        new = [row for row in found if row not in expected]
        return f"{len(missing)} missing, {len(new)} new; missing {missing[:2]}, new {new[:2]}"
    if isinstance(expected, bytes) and isinstance(found, bytes):
        lines = difflib.unified_diff(
            expected.decode().splitlines(), found.decode().splitlines(), n=0, lineterm=""
        )
        return "\n  " + "\n  ".join(line[:300] for line in list(lines)[2:8])
    return f"expected {str(expected)[:300]}, found {str(found)[:300]}"


def check_after_a_kill(data: Path, folder: Path, there: Registry) -> None:
    """What must hold at any moment, before anything is repaired.

    No message left that the warehouse does not know, with its very bytes; and analysts can read what is
    published.

    Raises:
        KilledError: It does not hold.
    """
    published = data / "published" / "experiments.duckdb"
    if published.exists():
        with duckdb.connect(str(published), read_only=True) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                connection.execute(f"SELECT count(*), count(COLUMNS(*)) FROM {table}").fetchall()
    sent = {path.stem: path.read_bytes().removesuffix(b"\n") for path in (data / "outbox").glob("*.json")}
    events = committed_events(data, folder)
    for identifier, body in [
        *sent.items(),
        *((key, body) for key, bodies in there.bodies.items() for body in bodies),
    ]:
        if events.get(identifier) != body:
            raise KilledError(
                f"message {identifier} was sent, but the warehouse "
                f"{'holds other bytes' if identifier in events else 'knows of no such event'}"
            )


def committed_events(data: Path, folder: Path) -> dict[str, bytes]:
    """The events that are committed, read from a copy: looking must not repair anything."""
    warehouse = data / "warehouse" / "warehouse.duckdb"
    if not warehouse.exists():
        return {}
    scratch = folder / "looked-at"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in (warehouse, warehouse.with_name(f"{warehouse.name}.wal")):
        if path.exists():
            shutil.copyfile(path, scratch / path.name)
    with duckdb.connect(str(scratch / warehouse.name)) as connection:
        tables = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'events'").fetchall()
        if not tables:
            return {}
        return {
            identifier: payload.encode()
            for identifier, payload in connection.execute("SELECT event_id, payload FROM events").fetchall()
        }
