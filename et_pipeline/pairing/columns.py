"""SQL fragments that repeat per metric, generated from the metric catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS, Metric
from et_pipeline.contracts.series import UPLIFT, Series

METRICS = ", ".join(f"r.{name}" for name in REPORT_METRICS)
"""The metric columns of a report `r`."""


def every_limit(planned: Iterable[Metric]) -> str:
    """The plan's winsor limits as columns, from the rows `m` of `experiment_metrics`; null where there are none.

    Args:
        planned: The metrics of the plans. Reported metrics have their columns even if no plan has them.
    """
    reported = [CATALOGUE[name] for name in REPORT_METRICS]
    return ",\n    ".join(
        f"max(CASE WHEN m.metric = '{metric.name}' THEN m.winsor_{end} END) AS {metric.column}_{end}"
        for metric in (*reported, *(metric for metric in planned if metric.weight))
        for end in ("lower", "upper")
    )


PASSES = {
    "c": "c.decision = 'passed'",
    "v": "v.report_id IS NULL OR v.decision = 'passed'",
    "r": "r.decision = 'passed'",
}
"""The condition that an arm passed on the opportunity, for its report: `c` control, `v` variant, `r` replayed
control."""


def _value(report: str, name: str) -> str:
    """One arm's metric in a pair. If the arm passed, it is 0 for metrics with `counts_passes`, and null for others."""
    plain = f"{report}.{name}"
    return f"CASE WHEN {PASSES[report]} THEN 0.0 ELSE {plain} END" if CATALOGUE[name].counts_passes else plain


VALUES = ",\n        ".join(
    f"{_value(report, name)} AS {name}_{arm}"
    for name in REPORT_METRICS
    for report, arm in (("c", "control"), ("v", "variant"), ("r", "replay"))
)
"""The metrics of a control report `c`, of its variant report `v` and of the replayed control `r`."""

REPLAYS = ",\n    ".join(
    f"CASE WHEN p.replay_decision <> 'passed' OR t.on_no_trade <> 'exclude' THEN p.{name}_replay END AS {name}_replay"
    for name in REPORT_METRICS
)
"""The replayed control's metrics in a pair `p`; after a pass they are null unless the plan's terms `t` count passes."""


def block(time: str) -> str:
    """The start of the block in which a time lies; blocks have the length `t.time_block_us` and are aligned to the
    epoch."""
    return f"make_timestamp({microseconds(time)} // t.time_block_us * t.time_block_us)"


def microseconds(time: str) -> str:
    """A time as whole microseconds since the epoch."""
    return f"epoch_us({time})"


def held(value: str, lower: str, upper: str) -> str:
    """A value, replaced by a limit where it lies beyond it; null stays null."""
    return f"CASE WHEN {value} < {lower} THEN {lower} WHEN {value} > {upper} THEN {upper} ELSE {value} END"


def beyond(value: str, lower: str, upper: str) -> str:
    """1 where a value lies beyond one of its limits, else 0."""
    return f"CASE WHEN {value} < {lower} OR {value} > {upper} THEN 1 ELSE 0 END"


def limits(metric: Metric, of: str = "t") -> tuple[str, str]:
    """The columns of a metric's winsor limits, in the terms `t` or in another table."""
    return f"{of}.{metric.column}_lower", f"{of}.{metric.column}_upper"


def value(metric: Metric, of: Callable[[str], str]) -> str:
    """The value of a metric that each report or pair has by itself; null where it is missing.

    Args:
        metric: A reported metric, a share of trades, or a metric weighted by size; for the latter, the value is the one
            that is weighted.
        of: Gives the column of a reported metric.
    """
    plain = of(metric.source or metric.name)
    for sign, limit in ((">", metric.above), ("<", metric.below)):
        if limit is not None:
            beyond_it = f"{plain} {sign} CAST({limit!r} AS DOUBLE)"
            return f"CASE WHEN {beyond_it} THEN CAST(1 AS DOUBLE) WHEN NOT ({beyond_it}) THEN CAST(0 AS DOUBLE) END"
    return plain


def totals(
    metric: Metric,
    of: Callable[[str], str],
    passed: str | None = None,
    within: tuple[str, str] | None = None,
) -> tuple[str, str]:
    """Numerator and denominator of a ratio metric; both are null where the metric has no value.

    For a metric weighted by size, a trade of size 0 adds nothing, whatever its value; neither does an arm that passed.

    Args:
        metric: A ratio metric.
        of: Gives the column of a reported metric.
        passed: The condition that the arm passed on the opportunity and the plan counts this; None where it cannot.
        within: The winsor limits for each value of a metric weighted by size; None for values as they were reported.
    """
    if metric.weight is None:
        assert metric.ratio_of is not None
        numerator, denominator = map(of, metric.ratio_of)
        return numerator, denominator
    weight = of(metric.weight)
    if passed is not None:
        weight = f"CASE WHEN {passed} THEN CAST(0 AS DOUBLE) ELSE {weight} END"
    single = value(metric, of) if within is None else held(value(metric, of), *within)
    product = f"CASE WHEN {weight} = 0 THEN CAST(0 AS DOUBLE) ELSE ({single}) * {weight} END"
    return product, f"CASE WHEN {product} IS NOT NULL THEN {weight} END"


PASSED = {
    "control": "p.passed = 'control'",
    "variant": "p.passed = 'variant' OR p.variant_report_id IS NULL",
    "replay": "p.replay_passed",
}
"""The condition that an arm of a pair `p` passed on the opportunity. Such pairs exist only if the plan counts
passes."""


def arm_totals(metric: Metric, arm: str, within: tuple[str, str] | None = None) -> tuple[str, str]:
    """Numerator and denominator that one arm of a pair `p` adds to a ratio metric, see `totals`."""
    passed = f"coalesce({PASSED[arm]}, false)" if metric.counts_passes else None
    return totals(metric, lambda name: f"p.{name}_{arm}", passed, within)


def arm_value(metric: Metric, arm: str, within: tuple[str, str] | None = None) -> str:
    """One arm's value of a metric in a pair `p`, as it was reported; null where there is none.

    For a ratio metric it is the ratio of this pair, limited to the metric's bounds; null without a positive
    denominator. With `within`, a value that is weighted by size is limited too, see `totals`.
    """
    if not metric.is_ratio:
        return value(metric, lambda name: f"p.{name}_{arm}")
    numerator, denominator = arm_totals(metric, arm, within)
    # Spark gives a CASE the type of a whole number if its first value is one, so the bounds are cast.
    bounds = (f"CAST({bound} AS DOUBLE)" for bound in (metric.lower, metric.upper))
    ratio = held(f"{numerator} / ({denominator})", *bounds)
    return f"CASE WHEN {denominator} > 0 THEN {ratio} END"


def own_value(metric: Metric, arm: str, within: tuple[str, str] | None = None) -> str:
    """One arm's value of a metric in a pair `p` for the comparison with the other arm.

    For a metric weighted by size, an arm that traded nothing has the value 0 and is not missing, so that the pair
    counts.
    """
    found = arm_value(metric, arm, within)
    if metric.weight is None:
        return found
    numerator, denominator = arm_totals(metric, arm, within)
    return f"CASE WHEN {denominator} = 0 THEN {numerator} ELSE {found} END"


def difference(series: Series) -> str:
    """A series' value of a pair `p`: the difference of two arms, with the opposite sign where less is better.

    The plan's winsor limits apply to it, except for ratios of totals and shares, which have none. For a metric weighted
    by size they apply to each arm's value in every comparison, because its estimate has no differences of single pairs.
    """
    metric, name = series.metric, series.metric.name
    better, worse = series.better_and_worse
    if not metric.reported:
        return _derived(series, within_limits(metric))
    if series.comparison.limited == "values":
        return " - ".join(f"({held(f'p.{name}_{arm}', *limits(metric))})" for arm in (better, worse))
    widest = f"t.{name}_upper - t.{name}_lower"
    return held(f"p.{name}_{better} - p.{name}_{worse}", f"-({widest})", widest)


def within_limits(metric: Metric) -> tuple[str, str] | None:
    """The limits of the single values of a ratio metric; None if a plan cannot name any."""
    return limits(metric) if metric.weight else None


def _derived(series: Series, within: tuple[str, str] | None) -> str:
    better, worse = (f"({own_value(series.metric, arm, within)})" for arm in series.better_and_worse)
    return f"{better} - {worse}"


def uplift_of_pair(metric: Metric) -> str:
    """The uplift of a pair `p` in a metric: its column in `pairs`, or for a derived metric an expression of columns.

    For a derived metric it is computed from the values as they were reported.
    """
    return f"p.{metric.name}_uplift" if metric.reported else _derived(Series(UPLIFT, metric), None)


def winsorised(series: Series) -> str:
    """How many of the two values of a pair `p` lie beyond the plan's winsor limits; for a series that limits the
    difference, 1 if the difference does."""
    metric, name = series.metric, series.metric.name
    if metric.weight:
        return " + ".join(_beyond_by_size(metric, arm) for arm in series.arms)
    if not metric.reported:
        return "0"
    if series.comparison.limited == "difference":
        plain = f"abs(p.{name}_{series.comparison.other} - p.{name}_{series.comparison.base})"
        return f"CASE WHEN {plain} > t.{name}_upper - t.{name}_lower THEN 1 ELSE 0 END"
    return " + ".join(beyond(f"p.{name}_{arm}", *limits(metric)) for arm in series.arms)


def _beyond_by_size(metric: Metric, arm: str) -> str:
    """1 if one arm's value of a pair `p` lies beyond its limits and its size is above 0, else 0."""
    of_trade = value(metric, lambda name: f"p.{name}_{arm}")
    return f"CASE WHEN {arm_totals(metric, arm)[1]} > 0 THEN {beyond(of_trade, *limits(metric))} ELSE 0 END"


UPLIFTS = ",\n    ".join(
    f"p.{name}_control, p.{name}_variant,\n    {difference(Series(UPLIFT, CATALOGUE[name]))} AS {name}_uplift"
    for name in REPORT_METRICS
)
"""All metric columns of `pairs`, computed from `p` with both arms' values and `t` with the winsor limits."""

PAIRED = f"""(CASE
    WHEN p.variant_decision IS NOT NULL
        THEN (p.control_decision = 'traded' AND p.variant_decision = 'traded')
            OR (t.on_no_trade <> 'exclude' AND p.control_decision <> p.variant_decision)
    ELSE t.on_no_trade = 'assume_zero' AND p.control_decision = 'traded'
        AND coalesce({block("p.pair_time")} < t.assumed_before, false)
END)"""
"""Whether an opportunity `p` is a pair under the terms `t`: both arms traded, or one of them passed and the plan counts
that as zero edge. If both passed it is not a pair, since there is nothing to compare."""
