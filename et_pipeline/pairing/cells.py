"""Cells from pairs: the sufficient statistics of each series per block and market, exact and mergeable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import among, load
from et_pipeline.contracts.metrics import Metric, metric_of
from et_pipeline.contracts.series import COMPARISONS, UPLIFT, Series
from et_pipeline.pairing.arms import (
    ARMS,
    PARTS,
    TOTAL,
    all_cells_of_trades,
    any_compared,
    keep_trades,
    trades,
    trades_without_value,
)
from et_pipeline.pairing.columns import arm_totals, arm_value, difference, winsorised
from et_pipeline.pairing.rules import prepare
from et_pipeline.pairing.segments import (
    MORE,
    PAIRS,
    asked,
    keep_segments,
    segments_of_pairs,
    segments_of_trades,
)
from et_pipeline.pairing.steps import view_stale
from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb

_CELL = "experiment_id, block, market_id"
MAX_PAIRS_PER_CELL = 10_000_000
"""Pairs whose squares a cell's sums hold even where every uplift has the largest size possible."""


class CellsResult(NamedTuple):
    """What one run of `build_cells` did.

    Attributes:
        stale: Cells (block and market) that were computed again.
        cells: Cells written, one per series.
        blocks: Blocks handed to the interval path.
    """

    stale: int
    cells: int
    blocks: int


def build_cells(
    connection: duckdb.DuckDBPyConnection, experiments: Sequence[str], *, engine: Engine | None = None
) -> CellsResult:
    """Computes the stale cells of experiments again from their pairs, and only those.

    Sums are exact: floating point is summed as decimals, so a cell does not depend on the order of its
    pairs or on how many threads added them up. `m2` is summed around the cell's own mean, in a second
    pass: `sum_squares − sum² / n` would cancel. A cell without pairs any more is removed.

    Columns of a ratio metric: `n` counts the pairs that have all four parts and a positive denominator in
    both arms; `numerator_*` and `denominator_*` are their totals, which is what the estimate divides (to
    9 decimals); `sum`, `sum_squares`, `m2` and `wins` describe each pair's own difference of ratios, each
    held within the metric's bounds. A metric by size is one of value times size over size, but of size 0 a pair
    counts too: it adds nothing to that arm's totals, and as its own value it has 0.

    Where all trades of both arms are compared, cells are of trades instead, see `pairing.arms`: `n` is their number,
    `numerator_*` and `denominator_*` are Σ value and number of trades of each arm, and there is no `sum`.

    What has no value of a metric is counted beside them, in `missing_values` (see the query `missing`).

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments whose stale cells are to be handled.
        engine: Where the pairs are; without one, in the warehouse.
    """
    engine = engine or DuckDBEngine(connection)
    with transaction(connection), engine.scope():
        prepare(engine, experiments)
        metrics = [metric_of(name) for (name,) in connection.execute(load(__package__, "planned")).fetchall()]
        return (_renew if engine.local else _compare)(engine, metrics, _series(connection, metrics))


def _renew(engine: Engine, metrics: Sequence[Metric], every: Sequence[Series]) -> CellsResult:
    """Replaces the stale cells by what their pairs give now."""
    stale = engine.create_temp("stale", load(__package__, "stale_now"))
    cells = blocks = 0
    if stale:
        engine.create_temp("stale_pairs", load(__package__, "stale_pairs", columns=_needed(metrics, every)))
        _take_away(engine)
        cells = sum(engine.insert("series_cells", cells_of_pairs(series)) for series in every)
        for metric in metrics:
            engine.insert(
                "missing_values", load(__package__, "missing", metric=metric.name, column=metric.column)
            )
        if any_compared(engine):
            keep_trades(engine, metrics)
            cells += sum(engine.insert("series_cells", query) for query in all_cells_of_trades(metrics))
            for metric in metrics:
                engine.insert("missing_values", trades_without_value(metric))
        for query in _segments(engine):
            engine.insert("segment_cells", query)
        blocks = _note_paths(engine)
    return CellsResult(stale, cells, blocks)


def _compare(engine: Engine, metrics: Sequence[Metric], every: Sequence[Series]) -> CellsResult:
    """Computes every cell of the experiments with a stale one where the pairs are, and keeps what differs."""
    warehouse = engine.warehouse
    chosen = {name for (name,) in warehouse.rows("SELECT experiment_id FROM chosen")}
    compared = any_compared(engine)
    experiments = chosen.intersection(view_stale(engine, trades() if compared else None))
    if not experiments:
        return CellsResult(0, 0, 0)
    inside = among(sorted(experiments))
    engine.share("experiment_metrics")
    engine.create_temp("stale", load(__package__, "stale_now"))
    engine.create_temp("stale_pairs", load(__package__, "stale_pairs", columns=_needed(metrics, every)))
    warehouse.create_temp("made", "SELECT * FROM series_cells WHERE false")
    warehouse.create_temp("made_missing", "SELECT * FROM missing_values WHERE false")
    for series in every:
        engine.insert("made", cells_of_pairs(series))
    for metric in metrics:
        engine.insert("made_missing", load(__package__, "missing", metric=metric.name, column=metric.column))
    if compared:
        keep_trades(engine, metrics)
        for query in all_cells_of_trades(metrics):
            engine.insert("made", query)
        for metric in metrics:
            engine.insert("made_missing", trades_without_value(metric))
    segments = _segments(engine)
    changes = load(__package__, "changed_cells", inside=inside)
    if segments:
        warehouse.create_temp("made_segments", "SELECT * FROM segment_cells WHERE false")
        for query in segments:
            engine.insert("made_segments", query)
        changes += "\nUNION\n" + load(__package__, "changed_segments", inside=inside)
    stale = warehouse.create_temp("stale", changes)
    cells = blocks = 0
    if stale:
        _take_away(warehouse)
        changed = f"({_CELL}) IN (SELECT {_CELL} FROM stale)"
        cells = warehouse.insert("series_cells", f"SELECT * FROM made WHERE {changed}")
        warehouse.insert("missing_values", f"SELECT * FROM made_missing WHERE {changed}")
        if segments:
            warehouse.insert("segment_cells", f"SELECT * FROM made_segments WHERE {changed}")
    blocks = _note_paths(warehouse)
    return CellsResult(stale, cells, blocks)


def _take_away(engine: Engine) -> None:
    """Takes the stale cells away; the limits of time keep the scan short."""
    ((first, last),) = engine.rows("SELECT min(block), max(block) FROM stale")
    span = f"block BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'"
    for table in ("series_cells", "missing_values", "segment_cells"):
        engine.delete(table, f"{span} AND ({_CELL}) IN (SELECT {_CELL} FROM stale)")


def _note_paths(engine: Engine) -> int:
    """Hands the blocks of the stale cells to the interval path; returns their number."""
    blocks = engine.insert("stale_paths", "SELECT DISTINCT experiment_id, block FROM stale")
    engine.delete("stale_cells", "experiment_id IN (SELECT experiment_id FROM chosen)")
    return blocks


def _series(connection: duckdb.DuckDBPyConnection, metrics: Sequence[Metric]) -> list[Series]:
    """The series that the chosen experiments can have: without a replayed control, those of the uplift alone."""
    ((replayed,),) = connection.execute(load(__package__, "replayed")).fetchall()
    comparisons = COMPARISONS.values() if replayed else [UPLIFT]
    return [Series(comparison, metric) for comparison in comparisons for metric in metrics]


def _segments(engine: Engine) -> list[str]:
    """The queries for the cells of breakdowns; makes the tables that they read. None where no plan asks for any."""
    experiments = asked(engine)
    if not experiments:
        return []
    primaries = {item.primary.name: item.primary.metric for item in experiments}
    series = [Series(UPLIFT, metric) for metric in primaries.values()]
    keep_segments(engine, experiments, sorted({column for one in series for column in columns_of(one)}))
    queries = []
    if any(item.paired for item in experiments):
        for one in series:
            cells = cells_of_pairs(one, source=PAIRS, stale="segments", more=MORE)
            queries.append(segments_of_pairs(experiments, one.metric, cells))
    if not all(item.paired for item in experiments):
        queries += [segments_of_trades(experiments, metric) for metric in primaries.values()]
    return queries


def _needed(metrics: Sequence[Metric], every: Sequence[Series]) -> str:
    found = {f"{missing_arms(metric)} AS {metric.column}_missing" for metric in metrics}
    found.update(column for series in every for column in columns_of(series))
    return ",\n    ".join(sorted(found))


def decimal_type(metric: Metric) -> str:
    """The decimal in which a metric's uplift and its square are summed: as fine as its bounds allow.

    A cell may hold `MAX_PAIRS_PER_CELL` pairs of the largest uplift before the sum of squares overflows,
    which is an error and never a wrong number.
    """
    largest = max(metric.uplift_range, 1.0) ** 2 * MAX_PAIRS_PER_CELL
    return f"DECIMAL(38, {38 - math.ceil(math.log10(largest))})"


def columns_of(series: Series) -> list[str]:
    """What a series needs of a pair `p`, with the winsor limits in `t`."""
    found = [f"{difference(series)} AS {series.name}", f"{winsorised(series)} AS {series.name}_winsorised"]
    if series.metric.is_ratio:
        found += [
            f"{total} AS {series.metric.column}_{part}_{arm}"
            for arm in series.arms
            for part, total in zip(PARTS, arm_totals(series.metric, arm), strict=True)
        ]
    return found


def missing_arms(metric: Metric) -> str:
    """Which arms of a pair `p` lack a value of a metric: 1 for the control, 2 for the variant, 3 for both, else 0.

    What the reports themselves say cannot be measured is not missing. Where one arm passed on the
    opportunity, only a metric with a value of its own for that (`counts_passes`) can miss one, and only the other
    arm's; and where either arm says that nothing was filled, there is no slippage, latency or toxicity.
    """
    control, variant = (
        f"CASE WHEN {arm_totals(metric, arm)[0] if metric.weight else arm_value(metric, arm)} IS NULL"
        f" THEN {number} ELSE 0 END"
        for arm, number in zip(ARMS, (1, 2), strict=True)
    )
    nothing_there = []
    if not metric.counts_passes:
        nothing_there.append("p.variant_report_id IS NULL OR p.passed IS NOT NULL")
    if metric.needs_fill:
        nothing_there.append("p.fill_ratio_control = 0 OR p.fill_ratio_variant = 0")
    arms = f"{control} + {variant}"
    return f"CASE WHEN {' OR '.join(nothing_there)} THEN 0 ELSE {arms} END" if nothing_there else arms


def cells_of_pairs(
    series: Series, *, source: str = "stale_pairs", stale: str = "stale", more: str = ""
) -> str:
    """The query for a series' cells, from the columns that `columns_of` names.

    Args:
        series: The series.
        source: The table of their pairs.
        stale: The table of the cells.
        more: Further columns of that, each with a comma before it.
    """
    places = {f"{part}_{arm}": "NULL" for part in PARTS for arm in ARMS}
    if series.metric.is_ratio:
        places = {
            f"{part}_{place}": f"p.{series.metric.column}_{part}_{arm}"
            for part in PARTS
            for place, arm in zip(ARMS, series.arms, strict=True)
        }
    return load(
        __package__,
        "cells",
        comparison=series.comparison.name,
        metric=series.metric.name,
        decimal=decimal_type(series.metric),
        total=TOTAL,
        uplift=f"p.{series.name}",
        touched=f"p.{series.name}_winsorised",
        pairs=source,
        stale=stale,
        more=more,
        **places,
    )
