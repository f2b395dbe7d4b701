"""Pairing 1 million by 1 million reports, compared with bare joins; and a tick with many stored reports, compared
with few."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from et_pipeline_tests.benchmarks.measure import Row, Sample, finish, median, run

if TYPE_CHECKING:
    import duckdb

PAIRS = 1_000_000
MARKETS = 2_000
TICK = 5_000
STORED = (50_000, 5_000_000)
TOLERANCE_S = 2
SPACING_US = {"correlation": 500_000, "nearest": 2_000}
"""Microseconds between opportunities; for nearest so few that most variants have a choice."""
NEAREST_BLOCK_US = 10_000_000
"""A block that is touched is counted anew, so it holds as many pairs here as an hour does for correlation."""
METRICS = ("edge_bps", "slippage_bps", "fill_ratio", "latency_ms")
SAME = " AND ".join(f"c.{name} = v.{name}" for name in ("market_id", "outcome_id", "side"))
BARE = f"""CREATE OR REPLACE TABLE bare AS
SELECT
    c.report_id AS control_report_id, v.report_id AS variant_report_id, c.emitted_at, c.market_id,
    {", ".join(f"c.{name} AS {name}_control, v.{name} AS {name}_variant" for name in METRICS)}
FROM reports AS c
INNER JOIN reports AS v ON c.correlation_id = v.correlation_id AND {SAME}
WHERE c.strategy_id = 'control' AND v.strategy_id = 'variant'"""
NAIVE = f"""CREATE OR REPLACE TABLE bare AS
WITH c AS (SELECT * FROM reports WHERE strategy_id = 'control'),
v AS (SELECT * FROM reports WHERE strategy_id = 'variant'),
sides AS (
    SELECT v.report_id, v.emitted_at, c.report_id AS control_report_id, v.emitted_at - c.emitted_at AS distance
    FROM v ASOF JOIN c ON {SAME} AND v.emitted_at >= c.emitted_at
    UNION ALL
    SELECT v.report_id, v.emitted_at, c.report_id, c.emitted_at - v.emitted_at
    FROM v ASOF JOIN c ON {SAME} AND v.emitted_at <= c.emitted_at
)
SELECT report_id AS variant_report_id, arg_min(control_report_id, distance) AS control_report_id
FROM sides
WHERE distance <= INTERVAL {TOLERANCE_S} SECOND
GROUP BY report_id"""


def rows(folder: Path) -> Iterator[Row]:
    """The rows of the table, with warehouses under a folder."""
    for method, baseline in (("correlation", "the bare join"), ("nearest", "two ASOF joins, with reuse")):
        home = folder / method
        _call("fill", home, method, PAIRS)
        ours, theirs = zip(
            *((_call("pair", home, method), _call("bare", home, method)) for _ in range(3)), strict=True
        )
        cells = ours[0].output["cells_seconds"]
        remark = f"cells of {len(METRICS)} metrics: {cells:.2f} s"
        if method == "nearest":
            remark = (
                f"the joins use {theirs[0].output['reused']:.0%} of the matched controls more than once, "
                f"ours {ours[0].output['reused']:.0%}; {remark}"
            )
        yield Row(
            f"{method} pairing, {PAIRS:,} by {PAIRS:,} reports, {MARKETS:,} markets",
            median(ours),
            f"{baseline} in DuckDB",
            median(theirs),
            None,
            max(sample.peak_mib for sample in ours),
            remark,
        )
    for method in ("correlation", "nearest"):
        few, many = (_ticks(folder / f"{method}-{stored}", method, stored) for stored in STORED)
        yield Row(
            f"pairs and cells of {2 * TICK:,} new reports, {method}, {2 * STORED[1]:,} stored",
            median([many]),
            f"{2 * STORED[0]:,} stored",
            median([few]),
            1.3,
            many.peak_mib,
            f"pairing everything first took {many.output['whole_seconds']:.0f} s",
        )


def _ticks(home: Path, method: str, stored: int) -> Sample:
    _call("fill", home, method, stored)
    return _call("tick", home, method, stored)


def _call(what: str, home: Path, method: str, count: int = 0) -> Sample:
    name = __spec__.name if __spec__ else __name__
    return run([sys.executable, "-m", name, what, str(home), method, str(count)])


def fill(connection: duckdb.DuckDBPyConnection, method: str, first: int, count: int) -> None:
    """Stores opportunities as one ingest transaction."""
    row = connection.execute("SELECT coalesce(max(batch), 0) + 1 FROM reports").fetchone()
    connection.execute(
        f"INSERT INTO reports BY NAME {opportunities(method, first, count, batch=row[0] if row else 1)}"
    )


def opportunities(method: str, first: int, count: int, *, batch: int = 1) -> str:
    """The query for opportunities from a number on, as rows of `reports`."""
    return (
        Path(__file__)
        .with_suffix(".sql")
        .read_text(encoding="utf-8")
        .format(
            first=first,
            count=count,
            markets=MARKETS,
            spacing_us=SPACING_US[method],
            jitter_us=SPACING_US[method] * 4 // 5,
            lag_us=3_000_000,
            shadow="true" if method == "correlation" else "false",
            batch=batch,
        )
    )


def _plan(connection: duckdb.DuckDBPyConnection, method: str) -> None:
    from et_pipeline_tests.pairing.lab import START, Lab

    nearest = {
        "mode": "limited_live",
        "matching": "nearest",
        "tolerance_us": TOLERANCE_S * 1_000_000,
        "time_block_us": NEAREST_BLOCK_US,
    }
    Lab(connection).plan(
        control_strategy_id="control",
        variant_strategy_id="variant",
        ends_at=START + timedelta(days=100),
        metrics=dict.fromkeys(METRICS),
        **(nearest if method == "nearest" else {}),
    )


def _reused(connection: duckdb.DuckDBPyConnection, table: str) -> float:
    row = connection.execute(
        "SELECT avg((n > 1)::INTEGER) FROM "
        f"(SELECT count(*) AS n FROM {table} GROUP BY control_report_id) AS used"
    ).fetchone()
    return float(row[0]) if row else 0.0


def _measure(connection: duckdb.DuckDBPyConnection, what: str, method: str, count: int) -> None:
    """One measured process."""
    from et_pipeline.pairing.cells import build_cells
    from et_pipeline.pairing.pairs import build_pairs

    if what == "fill":
        _plan(connection, method)
        for first in range(0, count, 250_000):
            fill(connection, method, first, min(250_000, count - first))
        return
    started = time.perf_counter()
    if what == "bare":
        connection.execute(BARE if method == "correlation" else NAIVE)
        finish(time.perf_counter() - started, reused=_reused(connection, "bare"))
        return
    build_pairs(connection, ["exp"], full=True)
    paired = time.perf_counter()
    build_cells(connection, ["exp"])
    finished = time.perf_counter()
    if what == "pair":
        finish(paired - started, cells_seconds=finished - paired, reused=_reused(connection, "pairs"))
        return
    seconds = []
    for number in range(7):
        fill(connection, method, count + number * TICK, TICK)
        began = time.perf_counter()
        build_pairs(connection, ["exp"])
        build_cells(connection, ["exp"])
        seconds.append(time.perf_counter() - began)
    finish(statistics.median(seconds), whole_seconds=finished - started)


def main(what: str, home: Path, method: str, count: int) -> None:
    """Opens the warehouse with its own memory limit, as a tick does, and measures."""
    from et_pipeline.settings import Settings
    from et_pipeline.warehouse.connection import open_warehouse

    with open_warehouse(Settings(data_dir=home)) as connection:
        _measure(connection, what, method, count)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
