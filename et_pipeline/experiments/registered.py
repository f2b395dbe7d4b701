"""The one reading of registered experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def registered_ids(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The ids of all registered experiments, sorted."""
    rows = connection.execute("SELECT experiment_id FROM experiments ORDER BY experiment_id").fetchall()
    return [name for (name,) in rows]
