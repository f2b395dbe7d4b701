"""What an uplift is worth: in money, and corrected for the bias that stopping early causes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from et_pipeline.common import text
from et_pipeline.common.numbers import finite
from et_pipeline.contracts.metrics import MONEY, metric_of
from et_pipeline.contracts.series import UPLIFT
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.governance.terms import Point, Sample
from et_pipeline.inference.unbiased import median_unbiased

WEEK = timedelta(days=7)


class Money(NamedTuple):
    """The uplift in money, per opportunity and per week.

    Attributes:
        metric: The metric from which it is computed; its unit is USD.
        per_opportunity: Mean uplift of an opportunity; where all trades are compared, of a trade.
        lower: Lower end of its interval; None if there is none yet.
        upper: Upper end of its interval.
        opportunities_per_week: Opportunities per week at the rate observed since the start of the plan.
        per_week: Mean uplift per week at that rate.
        week_lower: Lower end of the interval of `per_week`.
        week_upper: Upper end of that interval.
        sentence: All of this in a sentence for people.
    """

    metric: str
    per_opportunity: float
    lower: float | None
    upper: float | None
    opportunities_per_week: float
    per_week: float
    week_lower: float | None
    week_upper: float | None
    sentence: str


class Unbiased(NamedTuple):
    """The primary's estimate at a verdict, corrected for the bias that stopping early causes.

    Attributes:
        metric: The primary metric.
        mean: The mean at the decision.
        estimate: The median-unbiased estimate.
        sentence: Both in a sentence for people.
    """

    metric: str
    mean: float
    estimate: float
    sentence: str


def money(experiment: RegisteredExperiment, sample: Sample) -> Money | None:
    """The uplift in money; None if the plan has no metric in money, or no report contains it."""
    if MONEY not in {terms.name for terms in experiment.metrics}:
        return None
    point = sample.of(MONEY)
    if point is None or point.mean_uplift is None or point.as_of <= experiment.starts_at:
        return None
    number = point.n_pairs if point.n_control is None else point.n_control + (point.n_variant or 0)
    rate = number / ((point.as_of - experiment.starts_at) / WEEK)
    mean, lower, upper = point.mean_uplift, finite(point.ci_lower), finite(point.ci_upper)
    week_lower, week_upper = (None if end is None else end * rate for end in (lower, upper))
    what = "opportunity" if experiment.paired else "trade"
    plural = "compared opportunities" if experiment.paired else "trades of both arms"
    sentence = (
        f"In money ({MONEY}), the uplift is {_range(mean, lower, upper)} per {what}. At the observed rate of "
        f"{rate:,.0f} "
        f"{plural} per week, it is {_range(mean * rate, week_lower, week_upper)} per week."
    )
    return Money(MONEY, mean, lower, upper, rate, mean * rate, week_lower, week_upper, sentence)


def unbiased(
    experiment: RegisteredExperiment, verdict: str | None, sample: Sample, path: Iterable[Point]
) -> Unbiased | None:
    """The primary's median-unbiased estimate at a verdict that says that the arms differ.

    Args:
        experiment: The experiment.
        verdict: Its verdict; None without one.
        sample: The facts at the decision.
        path: Its interval paths, in order of time.

    Returns:
        The estimate; None without such a verdict, if another metric than the primary led to it, and for a plan without
        looks.
    """
    point = sample.of(experiment.primary.name)
    if verdict not in ("variant_better", "variant_worse") or point is None or point.looks is None:
        return None
    sign, end = (1, "ci_lower") if verdict == "variant_better" else (-1, "alarm_ci_upper")
    looks = [
        (sign * row.mean_uplift, row.se, row.degrees_of_freedom, sign * (row.mean_uplift - ends))
        for row in path
        if (row.metric, row.comparison) == (point.metric, UPLIFT.name)
        and row.as_of <= point.as_of
        and not row.carried
        and row.ready
        and row.mean_uplift is not None
        and row.se
        and row.degrees_of_freedom is not None
        and (ends := getattr(row, end)) is not None
    ]
    found = median_unbiased(*zip(*looks, strict=True)) if looks else math.nan
    if not math.isfinite(found):
        return None
    estimate, mean = sign * found, sign * looks[-1][0]
    unit, decimals = metric_of(point.metric).unit, text.decimals_of(point.ci_lower, point.ci_upper)
    told, corrected = (f"{text.signed(value, decimals)} {unit}" for value in (mean, estimate))
    sentence = f"The mean uplift of {point.metric} at the decision is {told}. "
    if told == corrected:
        sentence += (
            "It needs no correction: the experiment could hardly have been decided at an earlier look."
        )
    else:
        sentence += (
            "It is too far from zero on average, because the experiment stopped when the mean was large. The "
            f"median-unbiased estimate, which takes the earlier looks into account, is {corrected}."
        )
    return Unbiased(point.metric, mean, estimate, sentence)


def _range(mean: float | None, lower: float | None, upper: float | None) -> str:
    decimals = min(text.decimals_of(lower, upper) if lower is not None else text.decimals_of(mean), 6)
    told = f"{text.signed(mean, decimals)} USD"
    if lower is None or upper is None:
        return f"{told} (no interval yet)"
    return f"{told} (between {text.signed(lower, decimals)} and {text.signed(upper, decimals)})"
