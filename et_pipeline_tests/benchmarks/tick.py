"""A whole tick with 10,000 new reports, run by the command line: with many stored reports compared with few."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.benchmarks import pairing
from et_pipeline_tests.benchmarks.measure import Row, Sample, median, processor, run

NEW = 5_000
STORED = (50_000, 5_000_000)
ROUNDS = 5
NOW = "2026-12-15T00:00:00Z"
PLAN = """\
experiment_id: exp
title: Benchmark
hypothesis: The tick costs what is new.
owner: team
mode: shadow
control: {strategy_id: control}
variant: {strategy_id: variant}
planned_pairs: 5000000
starts_at: 2026-11-01T00:00:00Z
ends_at: 2026-12-14T00:00:00Z
metrics:
  - {name: edge_bps, role: primary, equivalence_margin: 2.0}
  - {name: slippage_bps, role: guardrail, non_inferiority_margin: 1.0}
  - {name: fill_ratio, role: guardrail, non_inferiority_margin: 0.02}
  - {name: latency_ms, role: secondary}
"""
ONE_SNAPSHOT = """INSERT INTO snapshots
SELECT 'stored.ndjson', 0, 0, '', now(), count(*), count(*), 0, 0, 0, 1, 1, false, max(batch), 0 FROM reports"""
TEXTS = ("schema_version", "report_id", "strategy_id", "config_version", "mode")
PLACE = ("correlation_id", "market_id", "outcome_id", "side")
FIELDS = f"""{", ".join(TEXTS)}, {", ".join(PLACE)}, 'OperationsReport' AS kind,
    CASE WHEN mode = 'replay' THEN 'gov.backtester' ELSE bot_id END AS bot_id,
    strftime(emitted_at, '%Y-%m-%dT%H:%M:%S.%fZ') AS emitted_at,
    {{{", ".join(f"{name}: {name}" for name in pairing.METRICS)}}} AS metrics"""


def rows(folder: Path) -> Iterator[Row]:
    """The one row of the table: both warehouses are ticked in turn, each on a snapshot of its own at a time."""
    homes = [folder / str(stored) for stored in STORED]
    for home, stored in zip(homes, STORED, strict=True):
        _fill(home, stored)
        _tick(home)
    samples: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(ROUNDS):
        for home, stored, taken in zip(homes, STORED, samples, strict=True):
            _snapshot(home, stored + number * NEW)
            taken.append(_tick(home))
    few, many = samples
    yield Row(
        f"a tick with {2 * NEW:,} new reports, {2 * STORED[1]:,} stored",
        median(many),
        f"{2 * STORED[0]:,} stored",
        median(few),
        1.3,
        max(sample.peak_mib for sample in many),
        f"processor time {processor(many):.1f} s against {processor(few):.1f} s",
    )


def _tick(home: Path) -> Sample:
    environment = {"ET_DATA_DIR": str(home), "ET_NOW": NOW}
    return run([sys.executable, "-m", "et_pipeline", "tick"], environment)


def _fill(home: Path, count: int) -> None:
    """Stores reports without reading any, and lays the plan beside them."""
    with open_warehouse(Settings(data_dir=home)) as connection:
        for first in range(0, count, 250_000):
            pairing.fill(connection, "correlation", first, min(250_000, count - first))
        connection.execute(ONE_SNAPSHOT)
    for name in ("experiments", "report_bus"):
        (home / name).mkdir()
    (home / "experiments" / "exp.yaml").write_text(PLAN, encoding="utf-8")


def _snapshot(home: Path, first: int) -> None:
    """Writes the next opportunities as a snapshot."""
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT {FIELDS} FROM ({pairing.opportunities('correlation', first, NEW)}))"
            f" TO '{home}/report_bus/{first:09}.ndjson' (FORMAT json)"
        )
