"""Cells of all trades of both arms, for experiments whose arms are compared without pairs.

Pairing has determined which reports count: those inside the window that no later one supersedes. Their values are read
from the reports themselves, since most of them are in no pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import Metric
from et_pipeline.contracts.series import BEFORE, UPLIFT
from et_pipeline.pairing import columns

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

ARMS = ("control", "variant")
PARTS = ("numerator", "denominator")
"""The two totals of each arm, for ratio metrics and where all trades are compared."""
COMPARED = {UPLIFT.name: ARMS, BEFORE: (BEFORE, "")}
"""By comparison: which trades are counted in the control's columns of a cell, and which in the variant's columns."""
TOTAL = "DECIMAL(38, 9)"
"""The decimal type in which values are summed: 9 decimals, and large enough for any possible number of trades."""


def any_compared(engine: Engine) -> bool:
    """Whether any of the chosen experiments compares all trades; if so, the temporary table `arms` is made as well."""
    rows = engine.warehouse.rows("SELECT count(*) FROM terms WHERE matching = 'arms'")
    if not rows[0][0]:
        return False
    engine.warehouse.create_temp("arms", load(__package__, "arms"))
    engine.share("arms")
    return True


def mark_stale(engine: Engine, inside: str, after: int = 0) -> None:
    """Writes the cells of the reports in `gathered`, and of those that conflicts removed, to `stale_cells`.

    Args:
        engine: Where the rows are, with the tables `gathered`, `arms` and `terms`.
        inside: The condition on the experiments.
        after: Removed reports count if their conflict came in a later batch than this one.
    """
    engine.insert(
        "stale_cells",
        load(
            __package__,
            "stale_trades",
            block_gathered=columns.block("g.emitted_at"),
            inside=inside,
            after=after,
        ),
    )


def trades(span: str = "true", more: str = "") -> str:
    """The query for the trades that count.

    Args:
        span: A condition on the reports `r`, which makes the scan shorter.
        more: Further columns of the reports, each with a comma before it.
    """
    return load(
        __package__,
        "trades",
        block=columns.block("r.emitted_at"),
        metrics=columns.METRICS + more,
        before=BEFORE,
        span=span,
    )


def keep_trades(engine: Engine, metrics: Sequence[Metric]) -> None:
    """Makes the temporary table `stale_trades`: the trades of the cells in `stale`."""
    engine.create_temp(
        "stale_trades",
        load(
            __package__,
            "trades_of_cells",
            columns=", ".join(needed_of_trades(metrics)),
            trades=trades(span_of_stale(engine)),
        ),
    )


def span_of_stale(engine: Engine) -> str:
    """A condition on time that holds for all reports `r` of the cells in `stale`; it makes the scan shorter."""
    if not engine.local:
        return "true"
    return (
        "r.emitted_at >= (SELECT min(block) FROM stale) AND r.emitted_at < (SELECT max(s.block +"
        " to_microseconds(x.time_block_us)) FROM stale AS s INNER JOIN terms AS x USING (experiment_id))"
    )


def needed_of_trades(metrics: Sequence[Metric]) -> list[str]:
    """The columns of a trade `p`, and of the winsor limits in `t`, that some metrics need."""
    needed = {"p.fill_ratio"}
    for metric in metrics:
        sources = metric.ratio_of or (metric.source or metric.name, metric.weight)
        needed.update(f"p.{name}" for name in sources if name is not None)
        if metric.reported or metric.weight:
            needed.update(columns.limits(metric))
    return sorted(needed)


def all_cells_of_trades(metrics: Sequence[Metric]) -> Iterator[str]:
    """The queries for the cells of metrics, from `stale_trades`."""
    for metric in metrics:
        for comparison in COMPARED:
            yield cells_of_trades(metric, comparison)


def cells_of_trades(
    metric: Metric,
    comparison: str = UPLIFT.name,
    *,
    source: str = "stale_trades",
    stale: str = "stale",
    more: str = "",
) -> str:
    """The query for a metric's cells.

    Args:
        metric: The metric.
        comparison: One of `COMPARED`.
        source: The table of the trades.
        stale: The table of the cells.
        more: Further columns of the table of cells, each with a comma before it.
    """
    numerator, denominator, touched = columns.value(metric, _of_trade), "1", "0"
    within = columns.limits(metric, "p")
    if metric.weight:
        touched = columns.beyond(numerator, *within)
        numerator, denominator = columns.totals(metric, _of_trade, within=within)
        touched = f"CASE WHEN {denominator} > 0 THEN {touched} ELSE 0 END"
    elif metric.is_ratio:
        numerator, denominator = columns.totals(metric, _of_trade)
    elif metric.reported:
        touched, numerator = columns.beyond(numerator, *within), columns.held(numerator, *within)
    places = list(zip(ARMS, COMPARED[comparison], strict=True))
    totals = [
        f"CAST(sum(CASE WHEN arm = '{arm}' THEN 1 ELSE 0 END) AS BIGINT) AS n_{place}"
        for place, arm in places
    ] + [
        f"CAST(sum(CASE WHEN arm = '{arm}' THEN CAST({part} AS {TOTAL}) ELSE 0 END) AS DOUBLE) AS {part}_{place}"
        for part in PARTS
        for place, arm in places
    ]
    return load(
        __package__,
        "cells_of_trades",
        metric=metric.name,
        comparison=comparison,
        control=places[0][1],
        variant=places[1][1],
        numerator=numerator,
        denominator=denominator,
        touched=touched,
        valued=valued(metric),
        totals=",\n        ".join(totals),
        trades=source,
        stale=stale,
        more=more,
    )


def trades_without_value(metric: Metric) -> str:
    """The query that counts the trades without a value of a metric although they could have one, from
    `stale_trades`."""
    nothing_filled = " AND coalesce(p.fill_ratio <> 0, true)" if metric.needs_fill else ""
    return load(
        __package__,
        "trades_without_value",
        metric=metric.name,
        missing=f"NOT ({valued(metric)}){nothing_filled}",
    )


def _of_trade(name: str) -> str:
    """The column of a trade `p` with a reported metric."""
    return f"p.{name}"


def valued(metric: Metric) -> str:
    """The condition that a trade `p` has a value of a metric."""
    if not metric.is_ratio:
        return f"{columns.value(metric, _of_trade)} IS NOT NULL"
    numerator, denominator = columns.totals(metric, _of_trade)
    least = ">=" if metric.weight else ">"
    return f"{numerator} IS NOT NULL AND coalesce({denominator} {least} 0, false)"
