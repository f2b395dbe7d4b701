"""SQL fragments that repeat per metric, generated from the metric catalogue."""

from __future__ import annotations

from collections.abc import Callable

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS, Metric
from et_pipeline.contracts.series import UPLIFT, Series

METRICS = ", ".join(f"r.{name}" for name in REPORT_METRICS)
"""The metric columns of a report `r`."""

LIMITS = ",\n    ".join(
    f"max(CASE WHEN m.metric = '{name}' THEN m.winsor_{end} END) AS {name}_{end}"
    for name in REPORT_METRICS
    for end in ("lower", "upper")
)
"""The plan's winsor limits of every metric, from `experiment_metrics` `m`; null where there are none."""

PASSES = {
    "c": "c.decision = 'passed'",
    "v": "v.report_id IS NULL OR v.decision = 'passed'",
    "r": "r.decision = 'passed'",
}
"""Whether an arm passed on the opportunity: by its control report `c`, its variant report `v`, its replay `r`."""


def _value(report: str, name: str) -> str:
    """One arm's metric in a pair; a pass is 0 where the catalogue says so, every other metric stays null."""
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
"""The replayed control's metrics of a pair `p`: a pass has a value only where the plan `t` counts passes."""


def block(time: str) -> str:
    """The start of a time's block: blocks of `t.time_block_us` are aligned to the epoch in UTC."""
    return f"make_timestamp({microseconds(time)} // t.time_block_us * t.time_block_us)"


def microseconds(time: str) -> str:
    """A time as whole microseconds since the epoch."""
    return f"epoch_us({time})"


def held(value: str, lower: str, upper: str) -> str:
    """A value, moved to the limit that it lies beyond; null stays null."""
    return f"CASE WHEN {value} < {lower} THEN {lower} WHEN {value} > {upper} THEN {upper} ELSE {value} END"


def beyond(value: str, lower: str, upper: str) -> str:
    """1 where a value lies beyond one of its limits, else 0."""
    return f"CASE WHEN {value} < {lower} OR {value} > {upper} THEN 1 ELSE 0 END"


def limits(name: str) -> tuple[str, str]:
    """The plan's winsor limits of a metric, in the terms `t`."""
    return f"t.{name}_lower", f"t.{name}_upper"


def value(metric: Metric, of: Callable[[str], str]) -> str:
    """A metric's value where each report or pair has one; null where there is none.

    Args:
        metric: A metric of reports, a share of trades, or one by size: then what is counted by size.
        of: The column of a metric of reports.
    """
    plain = of(metric.source or metric.name)
    for sign, limit in ((">", metric.above), ("<", metric.below)):
        if limit is not None:
            beyond_it = f"{plain} {sign} CAST({limit!r} AS DOUBLE)"
            return f"CASE WHEN {beyond_it} THEN CAST(1 AS DOUBLE) WHEN NOT ({beyond_it}) THEN CAST(0 AS DOUBLE) END"
    return plain


def totals(metric: Metric, of: Callable[[str], str], passed: str | None = None) -> tuple[str, str]:
    """What a ratio metric adds up: numerator and denominator; both null where the metric has no value.

    What is counted by size adds nothing at size 0, whatever its value: so does an arm that passed.

    Args:
        metric: A ratio metric.
        of: The column of a metric of reports.
        passed: Whether the arm passed on the opportunity and the plan counts that, where it can be.
    """
    if metric.weight is None:
        assert metric.ratio_of is not None
        numerator, denominator = map(of, metric.ratio_of)
        return numerator, denominator
    weight = of(metric.weight)
    if passed is not None:
        weight = f"CASE WHEN {passed} THEN CAST(0 AS DOUBLE) ELSE {weight} END"
    product = f"CASE WHEN {weight} = 0 THEN CAST(0 AS DOUBLE) ELSE {value(metric, of)} * {weight} END"
    return product, f"CASE WHEN {product} IS NOT NULL THEN {weight} END"


PASSED = {
    "control": "p.passed = 'control'",
    "variant": "p.passed = 'variant' OR p.variant_report_id IS NULL",
    "replay": "p.replay_passed",
}
"""Whether an arm of a pair `p` passed on the opportunity, where the plan counts passes: there is no such pair else."""


def arm_totals(metric: Metric, arm: str) -> tuple[str, str]:
    """What one arm of a pair `p` adds to a ratio metric, see `totals`."""
    passed = f"coalesce({PASSED[arm]}, false)" if metric.counts_passes else None
    return totals(metric, lambda name: f"p.{name}_{arm}", passed)


def arm_value(metric: Metric, arm: str) -> str:
    """One arm's value of a metric in a pair `p`, as it was reported; null where there is none.

    A ratio metric's is the pair's own ratio, held within the metric's bounds; null without a positive denominator.
    """
    if not metric.is_ratio:
        return value(metric, lambda name: f"p.{name}_{arm}")
    numerator, denominator = arm_totals(metric, arm)
    # A cluster takes a column for one of whole numbers where the first of its cases is one.
    bounds = (f"CAST({bound} AS DOUBLE)" for bound in (metric.lower, metric.upper))
    ratio = held(f"{numerator} / ({denominator})", *bounds)
    return f"CASE WHEN {denominator} > 0 THEN {ratio} END"


def own_value(metric: Metric, arm: str) -> str:
    """What one arm of a pair `p` has to compare with the other's.

    By size, an arm that adds nothing has the value 0: the pair counts, so that it is seen that nothing was traded.
    """
    found = arm_value(metric, arm)
    if metric.weight is None:
        return found
    numerator, denominator = arm_totals(metric, arm)
    return f"CASE WHEN {denominator} = 0 THEN {numerator} ELSE {found} END"


def difference(series: Series) -> str:
    """A series' value of a pair `p`: the difference of two arms, turned round where less is better.

    A ratio metric's and a share's values have no limits in the plan.
    """
    metric, name = series.metric, series.metric.name
    better, worse = series.better_and_worse
    if not metric.reported:
        return f"({own_value(metric, better)}) - ({own_value(metric, worse)})"
    if series.comparison.limited == "values":
        return " - ".join(f"({held(f'p.{name}_{arm}', *limits(name))})" for arm in (better, worse))
    widest = f"t.{name}_upper - t.{name}_lower"
    return held(f"p.{name}_{better} - p.{name}_{worse}", f"-({widest})", widest)


def uplift_of_pair(metric: Metric) -> str:
    """The uplift of a pair `p` in a metric: as it stands there, or derived from what stands there."""
    return f"p.{metric.name}_uplift" if metric.reported else difference(Series(UPLIFT, metric))


def winsorised(series: Series) -> str:
    """How many of the two values of a pair `p`, or whether their difference, lie beyond the plan's winsor limits."""
    name = series.metric.name
    if not series.metric.reported:
        return "0"
    if series.comparison.limited == "difference":
        plain = f"abs(p.{name}_{series.comparison.other} - p.{name}_{series.comparison.base})"
        return f"CASE WHEN {plain} > t.{name}_upper - t.{name}_lower THEN 1 ELSE 0 END"
    return " + ".join(beyond(f"p.{name}_{arm}", *limits(name)) for arm in series.arms)


UPLIFTS = ",\n    ".join(
    f"p.{name}_control, p.{name}_variant,\n    {difference(Series(UPLIFT, CATALOGUE[name]))} AS {name}_uplift"
    for name in REPORT_METRICS
)
"""Every metric column of `pairs`, from `p` with both arms' values and `t` with the winsor limits."""

PAIRED = f"""(CASE
    WHEN p.variant_decision IS NOT NULL
        THEN (p.control_decision = 'traded' AND p.variant_decision = 'traded')
            OR (t.on_no_trade <> 'exclude' AND p.control_decision <> p.variant_decision)
    ELSE t.on_no_trade = 'assume_zero' AND p.control_decision = 'traded'
        AND coalesce({block("p.pair_time")} < t.assumed_before, false)
END)"""
"""Whether an opportunity `p` makes a pair under the terms `t`: both traded, or one of the arms passed on it and the
plan counts that as zero edge. That both passed is no pair: there is nothing to compare."""
