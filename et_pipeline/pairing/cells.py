"""Cells from pairs: the sufficient statistics of each metric per block and market, exact and mergeable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.contracts.metrics import CATALOGUE, Metric
from et_pipeline.pairing.statements import delete, drop, insert, keep, query
from et_pipeline.resources.warehouse import transaction

if TYPE_CHECKING:
    import duckdb

ARMS = ("control", "variant")
MAX_PAIRS_PER_CELL = 10_000_000
"""Pairs whose squares a cell's sums hold even where every uplift has the largest size possible."""


class CellsResult(NamedTuple):
    """What one run of `build_cells` did.

    Attributes:
        stale: Cells (block and market) that were computed again.
        cells: Cells written, one per metric.
        blocks: Blocks handed to the interval path.
    """

    stale: int
    cells: int
    blocks: int


def build_cells(connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]) -> CellsResult:
    """Computes the stale cells of experiments again from their pairs, and only those.

    Sums are exact: floating point is summed as decimals, so a cell does not depend on the order of its
    pairs or on how many threads added them up. `m2` is summed around the cell's own mean, in a second
    pass: `sum_squares − sum² / n` would cancel. A cell without pairs any more is removed.

    Columns of a ratio metric: `n` counts the pairs that have all four parts and a positive denominator in
    both arms; `numerator_*` and `denominator_*` are their totals, which is what the estimate divides (to
    9 decimals); `sum`, `sum_squares`, `m2` and `wins` describe each pair's own difference of ratios, each
    held within the metric's bounds.

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments whose stale cells are to be handled.
    """
    with transaction(connection):
        connection.execute("CREATE OR REPLACE TEMP TABLE chosen (experiment_id VARCHAR)")
        connection.execute("INSERT INTO chosen SELECT DISTINCT unnest(?::VARCHAR[])", [list(experiments)])
        stale = keep(connection, "stale", query("stale_now"))
        if not stale:
            return CellsResult(0, 0, 0)
        keep(connection, "stale_pairs", query("stale_pairs"))
        inside = "(experiment_id, block, market_id) IN (SELECT experiment_id, block, market_id FROM stale)"
        delete(connection, "cells", inside)
        planned = connection.execute(
            "SELECT DISTINCT metric FROM experiment_metrics "
            "WHERE experiment_id IN (SELECT experiment_id FROM chosen) ORDER BY metric"
        ).fetchall()
        cells = sum(insert(connection, "cells", cells_query(CATALOGUE[name])) for (name,) in planned)
        blocks = insert(connection, "stale_paths", "SELECT DISTINCT experiment_id, block FROM stale")
        delete(connection, "stale_cells", "experiment_id IN (SELECT experiment_id FROM chosen)")
        drop(connection, "stale", "stale_pairs", "chosen")
    return CellsResult(stale, cells, blocks)


def decimal_type(metric: Metric) -> str:
    """The decimal in which a metric's uplift and its square are summed: as fine as its bounds allow.

    A cell may hold `MAX_PAIRS_PER_CELL` pairs of the largest uplift before the sum of squares overflows,
    which is an error and never a wrong number.
    """
    largest = max(metric.uplift_range, 1.0) ** 2 * MAX_PAIRS_PER_CELL
    return f"DECIMAL(38, {38 - math.ceil(math.log10(largest))})"


def cells_query(metric: Metric) -> str:
    """The query for a metric's cells from `stale_pairs`."""
    if metric.ratio_of is None:
        name = metric.name
        return query(
            "cells",
            metric=name,
            decimal=decimal_type(metric),
            total="DECIMAL(38, 9)",
            uplift=f"p.{name}_uplift",
            touched=" + ".join(_beyond_limits(f"p.{name}_{arm}") for arm in ARMS),
            **{f"{part}_{arm}": "NULL" for part in ("numerator", "denominator") for arm in ARMS},
        )
    parts = {
        f"{part}_{arm}": f"p.{name}_{arm}"
        for part, name in zip(("numerator", "denominator"), metric.ratio_of, strict=True)
        for arm in ARMS
    }
    ratio = {arm: _own_ratio(metric, parts[f"numerator_{arm}"], parts[f"denominator_{arm}"]) for arm in ARMS}
    first, second = ("variant", "control") if metric.direction > 0 else ("control", "variant")
    return query(
        "cells",
        metric=metric.name,
        decimal=decimal_type(metric),
        total="DECIMAL(38, 9)",
        uplift=f"{ratio[first]} - {ratio[second]}",
        touched="0",
        **parts,
    )


def _beyond_limits(value: str) -> str:
    """1 where the winsor limits touch a value, else 0."""
    return f"CASE WHEN {value} < m.winsor_lower OR {value} > m.winsor_upper THEN 1 ELSE 0 END"


def _own_ratio(metric: Metric, numerator: str, denominator: str) -> str:
    """One pair's ratio, held within the metric's bounds; null without a positive denominator."""
    ratio = f"{numerator} / {denominator}"
    return (
        f"CASE WHEN {denominator} > 0 THEN CASE WHEN {ratio} < {metric.lower} THEN {metric.lower}"
        f" WHEN {ratio} > {metric.upper} THEN {metric.upper} ELSE {ratio} END END"
    )
