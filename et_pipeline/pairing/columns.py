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
}
"""What stands for a metric of an arm that passed on the opportunity; every other metric stays null."""

BOTH_ARMS = ",\n        ".join(
    f"{NO_TRADE.get(f'c.{name}', f'c.{name}')} AS {name}_control,"
    f" {NO_TRADE.get(f'v.{name}', f'v.{name}')} AS {name}_variant"
    for name in REPORT_METRICS
)
"""The metrics of a control report `c` and of its variant report `v`."""


def block(time: str) -> str:
    """The start of a time's block: blocks of `t.time_block_us` are aligned to the epoch in UTC."""
    return f"make_timestamp({microseconds(time)} // t.time_block_us * t.time_block_us)"


def microseconds(time: str) -> str:
    """A time as whole microseconds since the epoch."""
    return f"epoch_us({time})"


def clipped(name: str, arm: str) -> str:
    """A metric of one arm, moved to the plan's winsor limits where it lies beyond; null stays null."""
    value = f"p.{name}_{arm}"
    return (
        f"CASE WHEN {value} < t.{name}_lower THEN t.{name}_lower"
        f" WHEN {value} > t.{name}_upper THEN t.{name}_upper ELSE {value} END"
    )


def difference(series: Series) -> str:
    """A series' value of a pair `p`: the difference of two arms, turned round where less is better."""
    better, worse = series.better_and_worse
    return f"({clipped(series.metric.name, better)}) - ({clipped(series.metric.name, worse)})"


def winsorised(series: Series) -> str:
    """How many of the two values of a pair `p` lie beyond the plan's winsor limits."""
    name = series.metric.name
    return " + ".join(
        f"CASE WHEN p.{name}_{arm} < t.{name}_lower OR p.{name}_{arm} > t.{name}_upper THEN 1 ELSE 0 END"
        for arm in series.arms
    )


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
