"""What single pairs of a series are like: median and standard deviation, from all of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import load
from et_pipeline.evidence.paths import PlannedSeries
from et_pipeline.inference.course import Course
from et_pipeline.pairing.columns import uplift_of_pair

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

WIDTH = 8.0
"""Standard errors of the mean that the median is looked for on each side of where it was."""


class Spread(NamedTuple):
    """Single pairs, as columns of `diagnostics`; None where there are too few."""

    median_uplift: float | None = None
    sd_uplift: float | None = None


def spread_of_pairs(engine: Engine, series: PlannedSeries, course: Course, before: Spread) -> Spread:
    """The spread of single pairs, of all of them.

    The standard deviation is that of the cells. A median of millions of numbers costs three times what counting them
    does, so it is looked for where it was: where the middle pairs lie within narrow limits, what lies within these is
    put in order and nothing else. It is the same number either way.

    Args:
        engine: Where the pairs are.
        series: The series.
        course: Its course.
        before: What was found last.
    """
    single = load(
        __package__,
        "single_pairs",
        uplift=uplift_of_pair(series.terms.metric),
        experiment_id=series.experiment.experiment_id,
    )
    pairs, total = course.by_pairs.total[-1].tolist()
    rest = max(course.squares[-1] - total**2 / pairs, 0.0)
    sd = math.sqrt(rest / (pairs - 1)) if pairs > 1 else None
    return Spread(_median(engine, single, int(pairs), before), sd)


def _median(engine: Engine, single: str, pairs: int, before: Spread) -> float | None:
    """The median of the uplifts; None where there are no pairs."""
    if engine.local and before.median_uplift is not None:
        reach = WIDTH * (before.sd_uplift or 0.0) / math.sqrt(pairs)
        low, high = (_number(before.median_uplift + way * reach) for way in (-1, 1))
        ((below,),) = engine.rows(load(__package__, "below", single=single, low=low))
        values = engine.frame(load(__package__, "between", single=single, low=low, high=high))
        lower, upper = (pairs + 1) // 2, pairs // 2 + 1  # the places of the middle pairs, the first pair is 1
        up_to = below + values["pairs"].cum_sum()
        if len(values) and below < lower and upper <= up_to[-1]:
            middle = [values["uplift"][int((up_to < place).sum())] for place in (lower, upper)]
            return float(sum(middle)) / 2
    ((whole,),) = engine.rows(load(__package__, "median", single=single))
    return None if whole is None else float(whole)


def _number(value: float) -> str:
    """A number as SQL that means it to the last bit."""
    return f"CAST('{value!r}' AS DOUBLE)"
