"""Cells of breakdowns: each cell is divided by side, outcome, hour, group of markets or label.

They are made by the same queries as all other cells, only with other numbers of cells. Nothing is done for experiments
whose plan has no breakdown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from et_pipeline.common.sql import among, load
from et_pipeline.contracts.breakdowns import LABEL, NONE, Breakdown
from et_pipeline.contracts.metrics import Metric
from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments
from et_pipeline.pairing import columns
from et_pipeline.pairing.arms import cells_of_trades, needed_of_trades, span_of_stale, trades

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

PAIRS, TRADES = "segment_pairs", "segment_trades"
MORE = ", c.dimension, c.value"
_OF_TRADES = ", r.side, r.outcome_id, r.emitted_at, r.extra"


def asked(engine: Engine) -> list[RegisteredExperiment]:
    """The experiments with a cell in `stale` and breakdowns in their plan."""
    stale = [name for (name,) in engine.rows("SELECT DISTINCT experiment_id FROM stale")]
    found = engine.connection.execute(load(__package__, "with_breakdowns"), [stale]).fetchall()
    return registered_experiments(engine.connection, [name for (name,) in found]) if found else []


def keep_segments(
    engine: Engine, experiments: Sequence[RegisteredExperiment], of_pairs: Sequence[str]
) -> None:
    """Makes the temporary tables `segments`, `segment_pairs` and `segment_trades`, see the queries.

    Args:
        engine: Where the rows are, with the tables `stale` and `terms`.
        experiments: The experiments of `asked`.
        of_pairs: The columns of a pair `p` that their primary metrics need, each as `p.column` or `… AS column`.
    """
    _keep_market_groups(engine, experiments)
    paired = [item for item in experiments if item.paired]
    compared = [item for item in experiments if not item.paired]
    needed = needed_of_trades(list({item.primary.name: item.primary.metric for item in compared}.values()))
    both = trades(span_of_stale(engine), _OF_TRADES)
    splits = {
        PAIRS: [
            load(
                __package__,
                "split_pairs",
                **_split(dimension, inside, "p.pair_time", "r.extra", "report_of_pair"),
                columns=", ".join(of_pairs),
            )
            for dimension, inside in _dimensions(paired)
        ],
        TRADES: [
            load(
                __package__,
                "split_trades",
                **_split(dimension, inside, "p.emitted_at", "p.extra", None),
                columns=", ".join(needed),
                trades=both,
            )
            for dimension, inside in _dimensions(compared)
        ],
    }
    made = {name: queries for name, queries in splits.items() if queries}
    for name, queries in made.items():
        engine.create_temp(f"split_{name}", "\nUNION ALL\n".join(queries))
    found = " UNION ALL ".join(
        f"SELECT experiment_id, block, market_id, dimension, value FROM split_{name}" for name in made
    )
    engine.create_temp("segments", load(__package__, "segments", found=found))
    for name in made:
        named = ["p.arm", *map(_named, needed)] if name == TRADES else list(map(_named, of_pairs))
        engine.create_temp(
            name, load(__package__, "numbered", columns=", ".join(named), split=f"split_{name}")
        )


def segments_of_pairs(experiments: Sequence[RegisteredExperiment], metric: Metric, cells: str) -> str:
    """The query for the cells of breakdowns, for experiments that compare pairs.

    Args:
        experiments: The experiments.
        metric: Only those with this primary metric are used.
        cells: The query for the cells of this metric, from `segment_pairs`.
    """
    return _of_primary([item for item in experiments if item.paired], metric, cells)


def segments_of_trades(experiments: Sequence[RegisteredExperiment], metric: Metric) -> str:
    """The query for the cells of breakdowns, for experiments with this primary metric that compare all trades."""
    cells = cells_of_trades(metric, source=TRADES, stale="segments", more=MORE)
    return _of_primary([item for item in experiments if not item.paired], metric, cells)


def _of_primary(experiments: Sequence[RegisteredExperiment], metric: Metric, cells: str) -> str:
    ours = among(item.experiment_id for item in experiments if item.primary.name == metric.name)
    return load(__package__, "segment_cells", cells=cells, inside=ours)


def _dimensions(experiments: Sequence[RegisteredExperiment]) -> list[tuple[str, str]]:
    """Each dimension in the experiments' breakdowns, with the condition that an experiment has it."""
    names = dict.fromkeys(part.dimension for item in experiments for part in item.breakdowns)
    return [
        (
            name,
            among(
                item.experiment_id
                for item in experiments
                if any(part.dimension == name for part in item.breakdowns)
            ),
        )
        for name in names
    ]


def _split(dimension: str, inside: str, time: str, extra: str, report: str | None) -> dict[str, str]:
    """The fragments of a query for one dimension.

    Args:
        dimension: The dimension.
        inside: The condition that an experiment has a breakdown by it.
        time: The column with the time of a pair or trade.
        extra: The column with the unknown fields of its report.
        report: The query that joins the report with that column; None if the row has the column already.
    """
    joined = ""
    if dimension.startswith(LABEL):
        value = f"coalesce({extra} ->> '$.labels.{dimension.removeprefix(LABEL)}', '{NONE}')"
        joined = load(__package__, report) if report else ""
    elif dimension == "market":
        value, joined = "k.value", load(__package__, "group_of_market")
    elif dimension == "hour":
        hour = f"CAST({columns.microseconds(time)} // 3600000000 % 24 AS VARCHAR)"
        value = f"CASE WHEN length({hour}) < 2 THEN concat('0', {hour}) ELSE {hour} END"
    else:
        value = f"p.{dimension}"
    return {"dimension": dimension, "inside": inside, "value": value, "joined": joined}


def _named(column: str) -> str:
    """A column of a table `split_…`: its name there, from the expression with which it was made."""
    return f"p.{column.rpartition(' AS ')[2].rpartition('.')[2]}"


def _keep_market_groups(engine: Engine, experiments: Sequence[RegisteredExperiment]) -> None:
    """Makes the table `market_groups`: the group of each market of the stale cells, for plans with such groups."""
    groups: dict[str, Breakdown] = {
        item.experiment_id: part
        for item in experiments
        for part in item.breakdowns
        if part.dimension == "market"
    }
    if not groups:
        return
    markets = engine.rows(f"SELECT DISTINCT experiment_id, market_id FROM stale WHERE {among(groups)}")
    engine.warehouse.create_temp(
        "market_groups",
        "SELECT NULL::VARCHAR AS experiment_id, NULL::VARCHAR AS market_id, NULL::VARCHAR AS value WHERE false",
    )
    rows = [(name, market, groups[name].group_of(market)) for name, market in markets]
    engine.connection.execute(
        "INSERT INTO market_groups SELECT unnest($names), unnest($markets), unnest($values)",
        dict(zip(("names", "markets", "values"), map(list, zip(*rows, strict=True)), strict=True)),
    )
    engine.share("market_groups")
