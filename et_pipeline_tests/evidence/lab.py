"""Cells written by hand into a real warehouse, and the evidence that is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import polars as pl
import yaml

from et_pipeline.common.sql import ArrowStream
from et_pipeline.experiments.registration import register
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import transaction

START = datetime(2026, 10, 1)
HOUR_US = 3_600_000_000
METRICS = [
    {"name": "edge_bps", "role": "primary", "equivalence_margin": 2.0},
    {"name": "slippage_bps", "role": "guardrail", "non_inferiority_margin": 1.0},
    {"name": "size_fill_ratio", "role": "secondary"},
]


def hour(number: int) -> datetime:
    """The start of a block."""
    return START + timedelta(hours=number)


def add_experiment(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    name: str = "exp",
    *,
    now: datetime = START,
    **changes: Any,
) -> None:
    """Registers a plan, or amends it, as a tick would."""
    plan = {
        "experiment_id": name,
        "title": "Made by hand",
        "hypothesis": "Its cells are known.",
        "owner": "desk",
        "mode": "shadow",
        "control": {"strategy_id": f"strat.{name}", "config_version": "1"},
        "variant": {"strategy_id": f"strat.{name}", "config_version": "2"},
        "planned_pairs": 1000,
        "boundary": "mixture",
        "starts_at": START.replace(tzinfo=UTC),
        "ends_at": START.replace(tzinfo=UTC) + timedelta(days=30),
        "metrics": METRICS,
        **changes,
    }
    settings.experiments_dir.mkdir(exist_ok=True)
    (settings.experiments_dir / f"{name}.yaml").write_text(yaml.safe_dump(plan), encoding="utf-8")
    outcome = register(connection, replace(settings, mode="limited_live"), now.replace(tzinfo=UTC))
    assert outcome.refused == []


def put_cells(
    connection: duckdb.DuckDBPyConnection,
    values: Iterable[tuple[int, str, Sequence[float]]],
    *,
    metric: str = "edge_bps",
    experiment: str = "exp",
    ratios: Sequence[float | None] | Callable[[Sequence[float]], Sequence[float]] = (None, None, None, None),
) -> None:
    """Puts one cell per (hour, market) that holds these uplifts, in place of what stood there; marks it stale.

    Both arms have then come as far as the newest cell's hour.

    `ratios` are numerator and denominator of the control, then of the variant, or what makes them of a cell's uplifts.
    """
    rows = []
    for block, market, uplifts in values:
        n, total = len(uplifts), sum(uplifts)
        squares = sum(value**2 for value in uplifts)
        m2 = sum((value - total / n) ** 2 for value in uplifts)
        wins = sum(1 for value in uplifts if value > 0)
        parts = ratios(uplifts) if callable(ratios) else ratios
        rows.append([experiment, metric, hour(block), market, n, total, squares, m2, wins, 0, *parts])
    names = [name for name, *_ in connection.execute("DESCRIBE cells").fetchall()]
    frame = pl.DataFrame(rows, schema=names[:14], orient="row", infer_schema_length=None)
    stream = ArrowStream(frame.cast({pl.Null: pl.Float64}))  # noqa: F841 - DuckDB scans it by its name
    with transaction(connection):
        connection.execute("CREATE TEMP TABLE put AS SELECT * FROM stream")
        connection.execute(
            "DELETE FROM series_cells AS c USING put AS p WHERE c.experiment_id = p.experiment_id "
            "AND c.metric = p.metric AND c.block = p.block AND c.market_id = p.market_id"
        )
        connection.execute("INSERT INTO series_cells BY NAME SELECT * FROM put")
        connection.execute("INSERT INTO stale_paths SELECT DISTINCT experiment_id, block FROM put")
        connection.execute("DROP TABLE put")
        connection.execute("DELETE FROM arm_progress WHERE experiment_id = ?", [experiment])
        connection.execute(
            "INSERT INTO arm_progress (experiment_id, control_until, variant_until) "
            "SELECT experiment_id, max(block), max(block) FROM cells "
            "WHERE experiment_id = ? GROUP BY experiment_id",
            [experiment],
        )
