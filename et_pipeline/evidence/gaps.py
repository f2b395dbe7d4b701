"""Missing values: how many pairs lack a value, and whether that is related to the value of the other arm."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from et_pipeline.common import text
from et_pipeline.common.sql import load
from et_pipeline.evidence.paths import PlannedSeries
from et_pipeline.inference.cells import Floats
from et_pipeline.inference.ratio import RatioCells, ratio_path
from et_pipeline.pairing.cells import missing_arms
from et_pipeline.pairing.columns import arm_value

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.warehouse.engine import Engine


SAMPLES = ("n_control", "n_variant")
"""Columns that count the trades of each arm."""


class Gaps(NamedTuple):
    """How many pairs have no value of a metric.

    Attributes:
        pairs: Pairs in which at least one arm's report has no value.
        control: Pairs in which the control's report has none.
        variant: Pairs in which the variant's report has none.
        blocks: Blocks with such a pair.
        last_block: Start of the last such block (UTC); None where there is none.
        worst_share: Highest share of such pairs in one block.
        worst_block: Start of that block (UTC).
    """

    pairs: int
    control: int
    variant: int
    blocks: int
    last_block: datetime | None
    worst_share: float | None
    worst_block: datetime | None


def read_gaps(connection: duckdb.DuckDBPyConnection, series: PlannedSeries) -> Gaps:
    """The missing values of one metric in all pairs, including those in open blocks."""
    found = connection.execute(
        load(__package__, "missing_values"),
        {"experiment_id": series.experiment.experiment_id, "metric": series.terms.name},
    ).fetchall()
    return Gaps(*found[0])


def missing_row(
    engine: Engine, series: PlannedSeries, gaps: Gaps, counted: Mapping[str, int]
) -> dict[str, Any]:
    """The columns `missing_...` of `diagnostics`.

    Args:
        engine: Where the pairs are. They are read only if a value is missing.
        series: The series.
        gaps: The missing values.
        counted: The numbers of existing values: `n_pairs`, or, where all trades are compared, `n_control` and
            `n_variant`. In that case each arm's share is of its own trades, and the metric's share is the larger one.
    """
    if series.experiment.paired:
        shares = [share(missing, gaps.pairs + counted.get("n_pairs", 0)) for missing in gaps[:3]]
    else:
        both = [share(gap, gap + counted.get(name, 0)) for gap, name in zip(gaps[1:3], SAMPLES, strict=True)]
        shares = [max(both), *both]
    row: dict[str, Any] = {
        **dict(zip(("missing_share", "missing_control_share", "missing_variant_share"), shares, strict=True)),
        "missing_blocks": gaps.blocks,
        "missing_worst_share": gaps.worst_share,
        "missing_worst_block": gaps.worst_block,
    }
    if not gaps.pairs or not series.experiment.paired:
        return row
    arm, other = ("control", "variant") if gaps.control > gaps.variant else ("variant", "control")
    difference = _difference(engine, series, arm, other)
    mean, lower, upper = difference or (None, None, None)
    return row | {
        "missing_arm": arm,
        "missing_difference": mean,
        "missing_difference_lower": lower,
        "missing_difference_upper": upper,
        "missing_sentence": _words(series, arm, other, difference),
    }


def share(part: int, whole: int) -> float:
    """A part divided by the whole; 0 if the whole is 0."""
    return part / whole if whole else 0.0


def _words(series: PlannedSeries, arm: str, other: str, difference: tuple[float, float, float] | None) -> str:
    """The result of the comparison in words."""
    name = series.terms.name
    where = f"In pairs without the {arm}'s {name}"
    if difference is None:
        return (
            f"{where}, too few values of the {other} are known to say whether the gaps depend on the result."
        )
    mean, lower, upper = difference
    unit, decimals = series.terms.metric.unit, text.decimals_of(lower, upper, mean)
    found = (
        f"{where}, the {other}'s mean {name} differs by {text.signed(mean, decimals)} {unit} from its mean in other "
        "pairs "
        f"({text.between(lower, upper, unit, decimals)})"
    )
    if lower <= 0.0 <= upper:
        return f"{found}. There is no sign that the gaps depend on the result."
    return f"{found}. The gaps depend on the result, so the values that exist are a biased selection."


def _difference(
    engine: Engine, series: PlannedSeries, arm: str, other: str
) -> tuple[float, float, float] | None:
    """The difference between the other arm's mean over pairs where `arm` has no value, and over those where it has
    one."""
    metric = series.terms.metric
    frame = engine.frame(
        load(
            __package__,
            "other_arm",
            value=arm_value(metric, other),
            gap=arm_value(metric, arm),
            arms=missing_arms(metric),
            experiment_id=series.experiment.experiment_id,
        )
    )
    return difference_of_means(
        frame["block"].to_numpy(),
        frame["market_id"].rank("dense").to_numpy(),
        (frame["sum_missing"].to_numpy(), frame["n_missing"].to_numpy()),
        (frame["sum_present"].to_numpy(), frame["n_present"].to_numpy()),
        alpha=series.experiment.alpha,
        g=series.experiment.g,
    )


def difference_of_means(
    block: ArrayLike,
    market: ArrayLike,
    missing: tuple[Floats, Floats],
    present: tuple[Floats, Floats],
    *,
    alpha: float,
    g: float,
) -> tuple[float, float, float] | None:
    """Mean of a value over some pairs minus its mean over the others, and the ends of its interval.

    Both means are ratios of totals, so their difference has the two-way, serially robust variance of
    `inference.ratio`. If the values of one arm are missing at random, the other arm's value does not depend on
    whether they are missing, and the true difference is 0.

    Args:
        block: Each cell's block, ascending.
        market: Each cell's market.
        missing: Each cell's sum of the value and number of pairs, over pairs in which the one arm has no value.
        present: The same over pairs in which it has a value.
        alpha: Probability that the interval ever misses the truth.
        g: Tuning of the boundary.

    Returns:
        Difference, lower and upper end; None where they cannot be estimated yet.
    """
    totals = np.column_stack((*missing, *present)).astype(np.float64)
    if not (totals[:, 1].sum() and totals[:, 3].sum()):
        return None
    cells = RatioCells(
        np.asarray(block, dtype=np.int64),
        np.asarray(market, dtype=np.int64),
        totals[:, 1] + totals[:, 3],
        totals,
    )
    path = ratio_path(cells, alpha=alpha, g=g).at(-1)
    mean, lower, upper = float(path.mean), float(path.ci_lower), float(path.ci_upper)
    return (mean, lower, upper) if np.isfinite((mean, lower, upper)).all() else None
