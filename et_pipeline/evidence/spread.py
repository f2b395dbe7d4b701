"""What single pairs of a series are like: median, standard deviation and the mean of each arm, from all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import load
from et_pipeline.evidence.paths import PlannedSeries
from et_pipeline.pairing.columns import arm_value, uplift_of_pair

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

WIDTH = 4.0
"""Standard errors of the mean that the median is looked for on each side of where it was."""


class Spread(NamedTuple):
    """Single pairs, as columns of `diagnostics`; None where there are too few."""

    median_uplift: float | None = None
    sd_uplift: float | None = None
    mean_control: float | None = None
    mean_variant: float | None = None


def spread_of_pairs(
    engine: Engine, series: PlannedSeries, pairs: int, centre: float, before: Spread
) -> Spread:
    """The spread of single pairs, of all of them.

    A median of millions of numbers costs three times what counting them does, so it is looked for where it was: where
    the middle pairs lie within narrow limits, what lies within these is put in order and nothing else. It is the same
    number either way.

    Args:
        engine: Where the pairs are.
        series: The series.
        pairs: About how many pairs there are.
        centre: A point amid the uplifts, so that the sum of their squares does not cancel.
        before: What was found last.
    """
    metric = series.terms.metric
    single = load(
        __package__,
        "single_pairs",
        uplift=uplift_of_pair(metric),
        control=arm_value(metric, "control"),
        variant=arm_value(metric, "variant"),
        experiment_id=series.experiment.experiment_id,
    )
    around, reach = before.median_uplift or 0.0, WIDTH * (before.sd_uplift or 0.0) / math.sqrt(max(pairs, 1))
    limits = {"low": _number(around - reach), "high": _number(around + reach)}
    query = load(__package__, "spread", single=single, centre=_number(centre), **limits)
    ((n, mean, square, control, variant, below, not_above),) = engine.rows(query)
    if not n:
        return Spread()
    first, last = (n - 1) // 2, n // 2
    if engine.local and below <= first and last < not_above:
        places = {"number": last - first + 1, "further": first - below}
        query = load(__package__, "middle", single=single, **places, **limits)
    else:
        query = load(__package__, "median", single=single)
    ((median,),) = engine.rows(query)
    sd = math.sqrt(max(square - mean**2, 0.0) * n / (n - 1)) if n > 1 else None
    return Spread(median, sd, control, variant)


def _number(value: float) -> str:
    """A number as SQL that means it to the last bit."""
    return f"CAST('{value!r}' AS DOUBLE)"
