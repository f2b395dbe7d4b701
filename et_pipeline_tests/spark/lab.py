"""The same history in two warehouses: one that pairs by itself, and one that lets a cluster do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from et_pipeline.defs.ingest import read_snapshots
from et_pipeline.defs.pairing import every_report_placed
from et_pipeline.experiments.registration import register
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings, SparkSettings
from et_pipeline.spark.engine import SparkEngine
from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.engine import Engine
from et_pipeline_tests.pairing.lab import Lab, open_lab

EXACT = 10
"""Columns of a cell up to `n` that are equal to the last bit."""


SAMPLES = ("basket-rebalance-fast", "late-news-filter", "line-shop-v4", "quote-refresh-2s")


def reports_to_cells(settings: Settings, engine: Engine) -> None:
    """One tick of the samples as far as the engine concerns it."""
    register(engine.connection, settings, settings.now())
    read_snapshots(engine, settings, settings.now())
    build_pairs(engine.connection, SAMPLES, engine=engine)
    build_cells(engine.connection, SAMPLES, engine=engine)


class Twins:
    """A warehouse that pairs, and one whose reports and pairs lie in a data set."""

    def __init__(self, local: Lab, remote: Lab, settings: SparkSettings) -> None:
        self.local, self.remote, self.settings = local, remote, settings

    def plan(self, *arguments: Any, **changes: Any) -> None:
        for lab in (self.local, self.remote):
            lab.plan(*arguments, **changes)

    def ingest(self, *reports: dict[str, Any], displaced: Sequence[dict[str, Any]] = ()) -> None:
        for lab in (self.local, self.remote):
            lab.ingest(*reports, displaced=displaced)
        as_dataset(self.remote, Path(self.settings.reports.removeprefix("file://")))

    def tick(self, experiments: Sequence[str]) -> None:
        """Both pair what is new, and must have the same afterwards."""
        build_pairs(self.local.connection, experiments)
        build_cells(self.local.connection, experiments)
        with spark_engine(self.settings, self.remote.connection) as engine:
            build_pairs(self.remote.connection, experiments, engine=engine)
            build_cells(self.remote.connection, experiments, engine=engine)
            assert every_report_placed(engine, experiments).passed
        with spark_engine(self.settings, self.remote.connection) as engine:
            same_pairs(self.local.connection, engine)
        same_cells(self.local.connection, self.remote.connection)


@contextmanager
def open_twins(url: str, folder: Path) -> Iterator[Twins]:
    with open_lab() as local, open_lab() as remote:
        yield Twins(local, remote, SparkSettings(url, f"file://{folder}"))


def as_dataset(lab: Lab, folder: Path) -> None:
    """Writes a warehouse's newest batch as an ingest on a cluster leaves it behind."""
    lab.connection.execute(
        "INSERT INTO snapshots SELECT 'p', 0, 0, '', now()::TIMESTAMP, 0, 0, 0, 0, 0, 1, 1, false, ?, 0",
        [lab.batch],
    )
    rows = pl.DataFrame(
        lab.connection.sql(f"SELECT * EXCLUDE (batch) FROM reports WHERE batch = {lab.batch}")
    )
    rows = rows.with_columns(
        pl.col(pl.UInt64).reinterpret(signed=True), pl.col("emitted_at").dt.replace_time_zone("UTC")
    )
    for (day,), part in rows.group_by(pl.col("emitted_at").dt.date()):
        target = folder / "reports" / f"batch={lab.batch}" / f"day={day}" / "part-0.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(target)


def same_pairs(local: duckdb.DuckDBPyConnection, engine: SparkEngine) -> None:
    """The same pairs and unmatched reports, to the last bit."""
    for table in ("pairs", "unmatched"):
        found = engine.session.table(table).drop("opportunity_key").toArrow()  # noqa: F841 (DuckDB scans it)
        columns = local.execute(f"SELECT * EXCLUDE (opportunity_key) FROM {table} LIMIT 0").description or []
        times = [name for name, kind, *_ in columns if str(kind) == "TIMESTAMP"]
        cast = ", ".join(f"{name}::TIMESTAMP AS {name}" for name in times)
        here = local.execute(f"SELECT * EXCLUDE (opportunity_key) FROM {table} ORDER BY ALL").fetchall()
        there = local.execute(f"SELECT * REPLACE ({cast}) FROM found ORDER BY ALL").fetchall()
        assert there == here, table


def same_cells(local: duckdb.DuckDBPyConnection, remote: duckdb.DuckDBPyConnection) -> None:
    """The same cells: counts to the last bit, sums to 1e-9 of their own size."""
    columns = (
        "experiment_id, metric, block, market_id, comparison, n, n_control, n_variant, wins, winsorised, sum, sum_squares, m2, "
        "numerator_control, denominator_control, numerator_variant, denominator_variant"
    )
    gaps = "SELECT * FROM missing_values ORDER BY ALL"
    assert remote.execute(gaps).fetchall() == local.execute(gaps).fetchall()
    exact_then_near(local, remote, f"SELECT {columns} FROM series_cells ORDER BY ALL", EXACT)
    of_segments = (
        "experiment_id, metric, dimension, value, block, market_id, n, n_control, n_variant, sum, m2, "
        "numerator_control, denominator_control, numerator_variant, denominator_variant"
    )
    exact_then_near(local, remote, f"SELECT {of_segments} FROM segment_cells ORDER BY ALL", 9)


def exact_then_near(
    local: duckdb.DuckDBPyConnection, remote: duckdb.DuckDBPyConnection, query: str, exact: int
) -> None:
    """The same rows in both: so many columns to the last bit, the sums after them to 1e-9 of their own size."""
    here, there = local.execute(query).fetchall(), remote.execute(query).fetchall()
    assert [row[:exact] for row in there] == [row[:exact] for row in here]
    for mine, other in zip(here, there, strict=True):
        for expected, found in zip(mine[exact:], other[exact:], strict=True):
            assert found == (None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9)), mine[
                :4
            ]
