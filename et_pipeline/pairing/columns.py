"""SQL fragments that repeat per metric, generated from the metric catalogue."""

from __future__ import annotations

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.contracts.series import UPLIFT, Series

METRICS = ", ".join(f"r.{name}" for name in REPORT_METRICS)
"""The metric columns of a report `r`."""

LIMITS = ",\n    ".join(
    f"max(CASE WHEN m.metric = '{name}' THEN m.winsor_{end} END) AS {name}_{end}"
    for name in REPORT_METRICS
    for end in ("lower", "upper")
)
"""The plan's winsor limits of every metric, from `experiment_metrics` `m`; null where there are none."""

NO_TRADE = {
    "c.edge_bps": "CASE WHEN c.decision = 'passed' THEN 0.0 ELSE c.edge_bps END",
    "v.edge_bps": "CASE WHEN v.report_id IS NULL OR v.decision = 'passed' THEN 0.0 ELSE v.edge_bps END",
    "r.edge_bps": "CASE WHEN r.decision = 'passed' THEN 0.0 ELSE r.edge_bps END",
}
"""What stands for a metric of an arm that passed on the opportunity; every other metric stays null."""

VALUES = ",\n        ".join(
    f"{NO_TRADE.get(f'{report}.{name}', f'{report}.{name}')} AS {name}_{arm}"
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


def difference(series: Series) -> str:
    """A series' value of a pair `p`: the difference of two arms, turned round where less is better."""
    name = series.metric.name
    better, worse = series.better_and_worse
    if series.comparison.limited == "values":
        return " - ".join(f"({held(f'p.{name}_{arm}', *limits(name))})" for arm in (better, worse))
    widest = f"t.{name}_upper - t.{name}_lower"
    return held(f"p.{name}_{better} - p.{name}_{worse}", f"-({widest})", widest)


def winsorised(series: Series) -> str:
    """How many of the two values of a pair `p`, or whether their difference, lie beyond the plan's winsor limits."""
    name = series.metric.name
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
