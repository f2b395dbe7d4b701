"""How far each arm of an experiment has come in time, according to its own reports alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from et_pipeline.common.sql import among, load

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine


def note_progress(
    engine: Engine,
    experiments: Sequence[str],
    source: Literal["arm_progress", "replayed_until"] = "arm_progress",
) -> None:
    """Writes the experiments' rows of `arm_progress`, inside the caller's transaction.

    Args:
        engine: Where the rows are.
        experiments: Experiments whose reports or pairs changed.
        source: The query: `arm_progress` reads what is paired, `replayed_until` the reports, if nothing is paired yet.
    """
    inside = among(experiments)
    rows = engine.rows(load(__package__, source, inside=inside))
    engine.connection.execute(f"DELETE FROM arm_progress WHERE {inside}")
    if rows:
        engine.connection.executemany("INSERT INTO arm_progress VALUES (?, ?, ?, ?)", rows)
