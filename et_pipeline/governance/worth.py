"""What an uplift is worth: in money, and corrected for the bias that stopping early causes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from et_pipeline.common import text
from et_pipeline.common.numbers import finite
from et_pipeline.contracts.metrics import MONEY, metric_of
from et_pipeline.contracts.series import LIKE_FOR_LIKE
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.governance.terms import Point, Sample, alarms, judged
from et_pipeline.inference.unbiased import conservative, median_unbiased

WEEK = timedelta(days=7)
SIDES = {"variant_better": (1, "ci_lower"), "variant_worse": (-1, "alarm_ci_upper")}
"""By verdict: whether a high or a low uplift made it, and which end of the interval had to pass."""


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
    """The estimate at a verdict, corrected for the bias that stopping early causes.

    Attributes:
        metric: The metric that made the verdict.
        mean: The mean at the decision.
        estimate: The median-unbiased estimate; of a plan without looks, a conservative one.
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
    """The estimate at a verdict that says that the arms differ, of the metric that made it.

    That is the primary, or the guardrail that raised the alarm (the first of them in the plan's order), in the
    comparison that counts: like for like where enough of the control is replayed.

    Args:
        experiment: The experiment.
        verdict: Its verdict; None without one.
        sample: The facts at the decision.
        path: Its interval paths, in order of time.

    Returns:
        The estimate; None without such a verdict, and if no interval passed what the metric may lose.
    """
    counts = judged(experiment, sample)
    decisive = (experiment.primary, *experiment.guardrails)
    made_by = {
        "variant_better": decisive[:1],
        "variant_worse": tuple(terms for terms in decisive if alarms(experiment, counts, terms)),
    }.get(verdict or "", ())
    point = counts.of(made_by[0].name) if made_by else None
    if point is None or point.mean_uplift is None:
        return None
    terms, (sign, end) = made_by[0], SIDES[str(verdict)]
    if point.looks is None:
        found = _whenever_it_stops(experiment, terms, point, sign)
    else:
        found = _by_looks(path, point, terms.margin, sign, end)
    if found is None:
        return None
    unit, decimals = metric_of(point.metric).unit, text.decimals_of(point.ci_lower, point.ci_upper)
    told, corrected = (f"{text.signed(value, decimals)} {unit}" for value in (point.mean_uplift, found))
    alike = " (like for like)" if point.comparison == LIKE_FOR_LIKE.name else ""
    sentence = f"The mean uplift of {point.metric}{alike} at the decision is {told}. "
    if told == corrected:
        sentence += (
            "It needs no correction: the experiment could hardly have been decided at an earlier look."
        )
    else:
        sentence += (
            "It is too far from zero on average, because the experiment stopped when the mean was large. "
        )
        sentence += (
            f"A conservative estimate, which is too far from zero in at most half of all experiments, is {corrected}."
            if point.looks is None
            else f"The median-unbiased estimate, which takes the earlier looks into account, is {corrected}."
        )
    return Unbiased(point.metric, point.mean_uplift, found, sentence)


def _by_looks(path: Iterable[Point], point: Point, margin: float, sign: int, end: str) -> float | None:
    """The median-unbiased estimate of a metric that concluded at one of the plan's looks.

    Args:
        path: The interval paths, in order of time.
        point: The metric's interval that concluded.
        margin: What the metric may lose: the distance from minus it is what concluded.
        sign: 1 where a high uplift concludes, −1 where a low one does.
        end: The end of the interval that has to leave minus the margin behind.
    """
    looks = [
        (sign * (row.mean_uplift + margin), row.se, row.degrees_of_freedom, sign * (row.mean_uplift - ends))
        for row in path
        if (row.metric, row.comparison) == (point.metric, point.comparison)
        and row.as_of <= point.as_of
        and not row.carried
        and row.ready
        and row.mean_uplift is not None
        and row.se
        and row.degrees_of_freedom is not None
        and (ends := getattr(row, end)) is not None
    ]
    found = median_unbiased(*zip(*looks, strict=True)) if looks else math.nan
    return sign * found - margin if math.isfinite(found) else None


def _whenever_it_stops(
    experiment: RegisteredExperiment, terms: MetricTerms, point: Point, sign: int
) -> float | None:
    """A conservative estimate where the boundary is valid for ever; None with `estimator: bounded`.

    What betting on bounded values makes of it is not kept, and without it the interval forgets what is rare.
    """
    if terms.estimator == "bounded" or not point.se or point.mean_uplift is None:
        return None
    distance = sign * (point.mean_uplift + terms.margin)
    return sign * conservative(distance, point.se, point.effective_clusters, g=experiment.g) - terms.margin


def _range(mean: float | None, lower: float | None, upper: float | None) -> str:
    decimals = min(text.decimals_of(lower, upper) if lower is not None else text.decimals_of(mean), 6)
    told = f"{text.signed(mean, decimals)} USD"
    if lower is None or upper is None:
        return f"{told} (no interval yet)"
    return f"{told} (between {text.signed(lower, decimals)} and {text.signed(upper, decimals)})"
