"""The metric catalogue: what each metric means, its unit, direction, bounds and estimator.

It is the only place that knows the metrics' rules: the report schema takes its value checks from here,
the plan its defaults, pairing the orientation of the uplift.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Estimator = Literal["mean", "bounded", "ratio"]


class Metric(NamedTuple):
    """One metric of an OperationsReport, or a ratio of two of them.

    Attributes:
        name: Name in reports, plans and tables.
        unit: Unit of its values, of its uplift and of its margins.
        direction: +1 where more is better, −1 where less is better; the uplift is
            `direction · (variant − control)`, so positive is always good for the variant.
        lower: Smallest value allowed.
        upper: Largest value allowed.
        lower_open: Whether `lower` itself is outside.
        estimator: Estimator used where the plan names none.
        meaning: One sentence for people.
        needs_fill: Whether it is measured on what was filled, so that a report whose `fill_ratio` is 0 has none.
        ratio_of: Numerator and denominator, for a ratio metric; such a metric is in no report.
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

    @property
    def allowed(self) -> str:
        """The allowed values as people write them, for example `0 < latency_ms <= 86400000`."""
        return f"{self.lower:.12g} {'<' if self.lower_open else '<='} {self.name} <= {self.upper:.12g}"

    def change(self, control: float | None, variant: float | None) -> float | None:
        """The variant's mean over the control's, less 1; None where it would mean nothing.

        That is where values may be negative (a change of an edge near 0 has any size) or the control has none.
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
        Metric("edge_bps", "bps", 1, -10_000, 10_000, False, "mean", "Net realised edge of the trade."),
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
        Metric("filled_size", "contracts", 1, 0, 1e12, False, "mean", "Size filled."),
        Metric("asked_size", "contracts", 1, 0, 1e12, False, "mean", "Size asked for."),
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
"""Every metric by name. `filled_size` and `asked_size` are optional parts of a 1.x report."""

REPORT_METRICS: tuple[str, ...] = tuple(name for name, metric in CATALOGUE.items() if metric.ratio_of is None)
"""The metrics that a report may carry, in column order."""
