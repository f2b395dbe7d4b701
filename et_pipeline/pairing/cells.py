"""Cells from pairs: the sufficient statistics of each series per block and market, exact and mergeable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import among, load
from et_pipeline.contracts.metrics import Metric
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
from et_pipeline.pairing.columns import arm_totals, arm_value, difference, winsorised, within_limits
from et_pipeline.pairing.rules import planned_metrics, prepare
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
_MADE = {"series_cells": "made_cells", "missing_values": "made_missing", "segment_cells": "made_segments"}
"""Every table of cells, with the temporary table that holds the rows of a new computation before they are compared."""
MAX_PAIRS_PER_CELL = 10_000_000
"""Number of pairs in a cell for which the sum of squares cannot overflow, even if every uplift has the largest size."""


class CellsResult(NamedTuple):
    """What one run of `build_cells` did.

    Attributes:
        stale: Cells (block and market) that were computed again.
        cells: Rows written to the table of cells, one per cell and series.
        blocks: Blocks whose interval path has to be computed again.
    """

    stale: int
    cells: int
    blocks: int


def build_cells(
    connection: duckdb.DuckDBPyConnection, experiments: Sequence[str], *, engine: Engine | None = None
) -> CellsResult:
    """Computes the stale cells of experiments again from their pairs, and only those.

    Sums are exact: floating-point numbers are summed as decimals, so a cell does not depend on the order of its
    pairs or on how many threads added them up. `m2` is summed around the cell's own mean, in a second
    pass, since `sum_squares − sum² / n` would lose digits. A cell that has no pairs any more is removed.

    `numerator_*` and `denominator_*` of the uplift are the sum of each arm's values, not limited, and their number.
    Columns of a ratio metric: `n` counts the pairs that have all four parts and a positive denominator in
    both arms; `numerator_*` and `denominator_*` are their totals (to 9 decimals), from which the estimate is
    computed; `sum`, `sum_squares`, `m2` and `wins` describe each pair's own difference of ratios, each ratio
    limited to the metric's bounds. A metric weighted by size is the ratio of value times size and size. For it a pair
    with size 0 counts too: it adds nothing to that arm's totals, and its own value is 0.

    Where all trades of both arms are compared, cells are of trades instead, see `pairing.arms`: `n` is their number,
    `numerator_*` and `denominator_*` are the sum of values and the number of trades of each arm, and `sum` is null.

    Pairs and trades without a value of a metric are counted in the table `missing_values` (see the query `missing`).

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments whose stale cells are computed again.
        engine: Where the pairs are; by default in the warehouse.
    """
    engine = engine or DuckDBEngine(connection)
    with transaction(connection), engine.scope():
        prepare(engine, experiments)
        metrics = planned_metrics(engine)
        compute = _replace_stale if engine.local else _replace_changed
        return compute(engine, metrics, _series(connection, metrics))


def _replace_stale(engine: Engine, metrics: Sequence[Metric], every: Sequence[Series]) -> CellsResult:
    """Computes the stale cells again and replaces them; for pairs in the warehouse itself."""
    stale = engine.create_temp("stale", load(__package__, "stale_now"))
    written = dict.fromkeys(_MADE, 0)
    blocks = 0
    if stale:
        engine.create_temp("stale_pairs", load(__package__, "stale_pairs", columns=_needed(metrics, every)))
        _delete_stale(engine)
        for table, query in _queries(engine, metrics, every, compared=any_compared(engine)):
            written[table] += engine.insert(table, query)
        blocks = _mark_paths_stale(engine)
    return CellsResult(stale, written["series_cells"], blocks)


def _replace_changed(engine: Engine, metrics: Sequence[Metric], every: Sequence[Series]) -> CellsResult:
    """Computes all cells of experiments with a stale cell on an engine elsewhere, and replaces those that changed."""
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
    for stored, made in _MADE.items():
        warehouse.create_temp(made, f"SELECT * FROM {stored} WHERE false")
    for table, query in _queries(engine, metrics, every, compared=compared):
        engine.insert(_MADE[table], query)
    changes = "\nUNION\n".join(
        load(__package__, "changed", stored=stored, made=made, inside=inside)
        for stored, made in _MADE.items()
    )
    stale = warehouse.create_temp("stale", changes)
    written = dict.fromkeys(_MADE, 0)
    if stale:
        _delete_stale(warehouse)
        for stored, made in _MADE.items():
            written[stored] = warehouse.insert(
                stored, f"SELECT * FROM {made} WHERE ({_CELL}) IN (SELECT {_CELL} FROM stale)"
            )
    return CellsResult(stale, written["series_cells"], _mark_paths_stale(warehouse))


def _queries(
    engine: Engine, metrics: Sequence[Metric], every: Sequence[Series], *, compared: bool
) -> Iterator[tuple[str, str]]:
    """The queries for all rows of the cells in `stale`, each with the table of `_MADE` to which its rows belong.

    Args:
        engine: Where the rows are, with the tables `stale` and `stale_pairs`.
        metrics: The metrics of the experiments.
        every: Their series.
        compared: Whether any of the experiments compares all trades of both arms.
    """
    for series in every:
        yield "series_cells", cells_of_pairs(series)
    for metric in metrics:
        yield "missing_values", load(__package__, "missing", metric=metric.name, column=metric.column)
    if compared:
        keep_trades(engine, metrics)
        for query in all_cells_of_trades(metrics):
            yield "series_cells", query
        for metric in metrics:
            yield "missing_values", trades_without_value(metric)
    for query in _segments(engine):
        yield "segment_cells", query


def _delete_stale(engine: Engine) -> None:
    """Deletes the stale cells; the condition on time makes the scan shorter."""
    ((first, last),) = engine.rows("SELECT min(block), max(block) FROM stale")
    span = f"block BETWEEN TIMESTAMP '{first}' AND TIMESTAMP '{last}'"
    for table in _MADE:
        engine.delete(table, f"{span} AND ({_CELL}) IN (SELECT {_CELL} FROM stale)")


def _mark_paths_stale(engine: Engine) -> int:
    """Writes the blocks of the stale cells to `stale_paths` and returns their number; the cells are stale no more."""
    blocks = engine.insert("stale_paths", "SELECT DISTINCT experiment_id, block FROM stale")
    engine.delete("stale_cells", "experiment_id IN (SELECT experiment_id FROM chosen)")
    return blocks


def _series(connection: duckdb.DuckDBPyConnection, metrics: Sequence[Metric]) -> list[Series]:
    """The series that the chosen experiments can have; only those of the uplift if no control is replayed."""
    ((replayed,),) = connection.execute(load(__package__, "replayed")).fetchall()
    comparisons = COMPARISONS.values() if replayed else [UPLIFT]
    return [Series(comparison, metric) for comparison in comparisons for metric in metrics]


def _segments(engine: Engine) -> list[str]:
    """The queries for the cells of breakdowns, after making the tables that they read; none if no plan has
    breakdowns."""
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
    """The decimal type in which a metric's uplift and its square are summed: with as many decimals as its bounds allow.

    Up to `MAX_PAIRS_PER_CELL` pairs with the largest uplift fit into a cell before the sum of squares overflows.
    An overflow raises an error; it never gives a wrong number.
    """
    largest = max(metric.uplift_range, 1.0) ** 2 * MAX_PAIRS_PER_CELL
    return f"DECIMAL(38, {38 - math.ceil(math.log10(largest))})"


def columns_of(series: Series) -> list[str]:
    """The columns that a series needs, computed from a pair `p` and the winsor limits in `t`."""
    found = [f"{difference(series)} AS {series.name}", f"{winsorised(series)} AS {series.name}_winsorised"]
    if _has_totals(series):
        found += [
            f"{total} AS {series.metric.column}_{part}_{arm}"
            for arm in series.arms
            for part, total in zip(PARTS, _totals_of_pair(series.metric, arm), strict=True)
        ]
    return found


def _has_totals(series: Series) -> bool:
    """Whether the cells of a series have the totals of each arm: the estimate of a ratio is made of them, and in the
    diagnostics they tell the level of each arm."""
    return series.metric.is_ratio or series.comparison.diagnosed


def _totals_of_pair(metric: Metric, arm: str) -> tuple[str, str]:
    """Numerator and denominator that one arm of a pair `p` adds to its totals."""
    if metric.is_ratio:
        return arm_totals(metric, arm, within_limits(metric))
    return arm_value(metric, arm), "1"


def missing_arms(metric: Metric) -> str:
    """Which arms of a pair `p` lack a value of a metric: 1 for the control, 2 for the variant, 3 for both, else 0.

    A value is not missing if the reports show that it could not be measured. If one arm passed on the opportunity,
    only metrics with a value for a pass (`counts_passes`) can be missing, and only in the other arm. If an arm reports
    that nothing was filled, there can be no slippage, latency or toxicity.
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
    """The query for a series' cells, computed from the columns of `columns_of`.

    Args:
        series: The series.
        source: The table of the pairs.
        stale: The table of the cells.
        more: Further columns of the table of cells, each with a comma before it.
    """
    places = {f"{part}_{arm}": "NULL" for part in PARTS for arm in ARMS}
    if _has_totals(series):
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
