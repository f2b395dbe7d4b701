"""The metric catalogue: what each metric means, its unit, direction, bounds and estimator.

It is the only place with the rules of metrics. The report schema takes its value checks from here, the plan its
defaults, and pairing the sign of the uplift. A plan may also derive a metric from the metrics that reports contain; its
rules follow from the catalogue's entries. `metric_of` finds metrics of both kinds by name.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Literal, NamedTuple

Estimator = Literal["mean", "bounded", "ratio"]


class Metric(NamedTuple):
    """One metric of an OperationsReport, a ratio of two of them, or one that a plan derives.

    Attributes:
        name: Name in reports, plans and tables.
        unit: Unit of its values, of its uplift and of its margins.
        direction: +1 where more is better, −1 where less is better; the uplift is
            `direction · (variant − control)`, so positive is always good for the variant.
        lower: Smallest value allowed.
        upper: Largest value allowed.
        lower_open: Whether the value `lower` itself is not allowed.
        estimator: Estimator that is used if the plan names none.
        meaning: One sentence for people.
        needs_fill: Whether it is measured on the filled part, so that a report whose `fill_ratio` is 0 has no value.
        ratio_of: Numerator and denominator, for a ratio metric; such a metric is in no report.
        counts_passes: Whether the value of an arm that passed on an opportunity is 0, if the plan counts passes.
        weighs: Whether a plan may use it as the weight of other metrics: it is a size and never negative.
        source: For a derived metric, the reported metric from which its values come.
        weight: For a metric weighted by size, the reported metric that is the weight.
        above: For a share of trades, the limit above which a trade is counted.
        below: For a share of trades, the limit below which a trade is counted.
    """

    name: str
    unit: str
    direction: Literal[1, -1]
    lower: float
    upper: float
    lower_open: bool
    estimator: Estimator
    meaning: str
    needs_fill: bool = False
    ratio_of: tuple[str, str] | None = None
    counts_passes: bool = False
    weighs: bool = False
    source: str | None = None
    weight: str | None = None
    above: float | None = None
    below: float | None = None

    @property
    def reported(self) -> bool:
        """Whether reports contain its values, so that it is neither derived nor a ratio."""
        return self.ratio_of is None and self.source is None

    @property
    def is_ratio(self) -> bool:
        """Whether each arm's value is one total divided by another, so that single pairs have no uplift of their
        own."""
        return self.ratio_of is not None or self.weight is not None

    @property
    def column(self) -> str:
        """Its name as a part of column names: characters that are not allowed there, such as dots, are escaped."""
        return re.sub(r"[^a-z0-9_]", lambda found: f"__{ord(found[0]):x}_", self.name)

    @property
    def allowed(self) -> str:
        """The allowed values as people write them, for example `0 < latency_ms <= 86400000`."""
        return f"{self.lower:.12g} {'<' if self.lower_open else '<='} {self.name} <= {self.upper:.12g}"

    def change(self, control: float | None, variant: float | None) -> float | None:
        """The relative change: the variant's mean divided by the control's, minus 1.

        It is None where it would have no meaning: for a metric whose values may be negative (the relative change of an
        edge near 0 can have any size), and where the control's mean is 0 or a mean is missing.
        """
        if self.lower < 0 or not control or variant is None:
            return None
        return variant / control - 1

    @property
    def uplift_range(self) -> float:
        """Largest absolute uplift that two allowed values can have."""
        return self.upper - self.lower


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "edge_bps",
            "bps",
            1,
            -10_000,
            10_000,
            False,
            "mean",
            "Net realised edge of the trade.",
            counts_passes=True,
        ),
        Metric(
            "slippage_bps",
            "bps",
            -1,
            -10_000,
            10_000,
            False,
            "mean",
            "Slippage against the arrival mid.",
            True,
        ),
        Metric("fill_ratio", "share", 1, 0, 1, False, "mean", "Share of the asked size that was filled."),
        Metric(
            "latency_ms", "ms", -1, 0, 86_400_000, True, "mean", "Decision to fill, in milliseconds.", True
        ),
        Metric("toxicity_bps", "bps", -1, -10_000, 10_000, False, "mean", "Mark drift after the fill.", True),
        Metric("filled_size", "contracts", 1, 0, 1e12, False, "mean", "Size filled.", weighs=True),
        Metric("asked_size", "contracts", 1, 0, 1e12, False, "mean", "Size asked for.", weighs=True),
        Metric(
            "pnl_usd",
            "USD",
            1,
            -1e9,
            1e9,
            False,
            "mean",
            "Profit or loss of the trade, net of fees.",
            counts_passes=True,
        ),
        Metric(
            "notional_usd",
            "USD",
            1,
            0,
            1e12,
            False,
            "mean",
            "Money at stake in the trade.",
            counts_passes=True,
            weighs=True,
        ),
        Metric(
            "size_fill_ratio",
            "share",
            1,
            0,
            1,
            False,
            "ratio",
            "Filled size over asked size, summed over pairs before dividing.",
            ratio_of=("filled_size", "asked_size"),
        ),
    )
}
"""Every metric by name. Sizes and amounts of money are optional in a 1.x report."""
MONEY = "pnl_usd"
"""The metric from which an uplift in money is computed."""

REPORT_METRICS: tuple[str, ...] = tuple(name for name, metric in CATALOGUE.items() if metric.reported)
"""The metrics that a report may contain, in the order of their columns."""
WEIGHTS: tuple[str, ...] = tuple(name for name, metric in CATALOGUE.items() if metric.weighs)
"""The metrics that a plan may use as weights of trades."""


@cache
def metric_of(name: str) -> Metric:
    """The metric with a name: one of the catalogue, or one that a plan derives.

    Example:
        >>> metric_of("edge_bps.by.filled_size").unit, metric_of("latency_ms.above.500").meaning
        ('bps', 'Share of trades with latency_ms above 500.')

    Raises:
        ValueError: The catalogue has no such metric, or does not allow it to be derived.
    """
    source, *how = name.split(".", 2)
    if not how:
        if name not in CATALOGUE:
            raise ValueError(
                f"name: {name!r} is not in the metric catalogue; allowed: {', '.join(CATALOGUE)}"
            )
        return CATALOGUE[name]
    kind, value = how
    return by_size(source, value) if kind == "by" else beyond(source, kind, float(value))


def by_size(name: str, weight: str) -> Metric:
    """A metric weighted by size: each arm's sum of value times weight, divided by its sum of weights.

    Args:
        name: The metric of a report.
        weight: The metric of a report that is the weight of each value.

    Raises:
        ValueError: The metric is not in reports, or is not allowed as a weight.
    """
    source = _source(name, "weight")
    allowed = [other for other in WEIGHTS if other != name]
    if weight not in allowed:
        raise ValueError(f"weight: a metric is counted by a size; allowed for {name}: {', '.join(allowed)}")
    return source._replace(
        name=f"{name}.by.{weight}",
        estimator="ratio",
        meaning=f"{source.meaning} Each trade counts by its {weight}.",
        weighs=False,
        source=name,
        weight=weight,
    )


def beyond(name: str, side: str, limit: float) -> Metric:
    """The share of trades whose value lies strictly beyond a limit.

    Its direction is that of the metric for `above`, and the opposite one for `below`.

    Args:
        name: The metric of a report.
        side: `above` or `below`.
        limit: The limit, in the metric's unit.

    Raises:
        ValueError: The metric is not in reports, or no trade, or every trade, could lie beyond the limit.
    """
    source = _source(name, side)
    low, high = f"{source.lower:.12g}", f"{source.upper:.12g}"
    if side == "above":
        fits = source.lower < limit < source.upper or (limit == source.lower and not source.lower_open)
        allowed = f"{low} {'<' if source.lower_open else '<='} above < {high}"
    else:
        fits, allowed = source.lower < limit <= source.upper, f"{low} < below <= {high}"
    if not fits:
        raise ValueError(
            f"{side}: {limit:.12g} would have every trade or none; allowed for {name}: {allowed}"
        )
    return Metric(
        name=f"{name}.{side}.{_digits(limit)}",
        unit="share",
        direction=1 if (source.direction == 1) == (side == "above") else -1,
        lower=0,
        upper=1,
        lower_open=False,
        estimator="mean",
        meaning=f"Share of trades with {name} {side} {_digits(limit)}.",
        needs_fill=source.needs_fill,
        counts_passes=source.counts_passes,
        source=name,
        above=limit if side == "above" else None,
        below=limit if side == "below" else None,
    )


def _source(name: str, key: str) -> Metric:
    if name not in REPORT_METRICS:
        raise ValueError(f"{key}: derived from what reports carry; allowed with: {', '.join(REPORT_METRICS)}")
    return CATALOGUE[name]


def _digits(limit: float) -> str:
    """A number in decimal digits, without an exponent, that gives the same number when it is read again."""
    text = format(Decimal(repr(limit + 0.0)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
