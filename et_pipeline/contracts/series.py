"""Series: everything that has an interval. To add a new kind, add an entry to `COMPARISONS`.

A series is one metric in one comparison of two arms of an experiment; its key is (experiment_id, comparison, metric).
All series have their cells, interval paths and intervals in the same tables `series_...`; the tables for analysts are
views of these (see `warehouse.views`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from et_pipeline.contracts.metrics import Metric

Arm = Literal["control", "variant", "replay"]
"""The arms of a pair; `replay` is the replayed control: the backtester's own version of the control's trade."""


class Comparison(NamedTuple):
    """Which two arms' values of a pair a series compares.

    Attributes:
        name: Its name in tables.
        base: The arm whose values are subtracted. In cells its totals are the columns `..._control`.
        other: The arm from whose values they are subtracted. In cells its totals are the columns `..._variant`.
        diagnosed: Whether it has rows in `diagnostics`.
        watched: Whether the drift detector watches it.
        limited: To what the plan's winsor limits apply: to each of the two `values`, or to their `difference`, whose
            largest size is then the distance between the limits. With `difference`, a constant bias of both values has
            no effect.
    """

    name: str
    base: Arm
    other: Arm
    diagnosed: bool
    watched: bool
    limited: Literal["values", "difference"] = "values"


UPLIFT = Comparison("uplift", "control", "variant", diagnosed=True, watched=True)
REPLAY_GAP = Comparison("replay_gap", "control", "replay", diagnosed=False, watched=False)
"""The replayed control against the live control: by how much the backtester flatters."""
LIKE_FOR_LIKE = Comparison(
    "like_for_like", "replay", "variant", diagnosed=False, watched=True, limited="difference"
)
"""The variant's replay against the replayed control: a bias of the backtester that is the same for both cancels."""
BEFORE = "before"
"""Cells of the control's trades from before the experiment, over a time as long as the experiment itself; only where
all trades are compared. They are not a series, but are used to check whether the control's level changed."""
COMPARISONS: dict[str, Comparison] = {
    comparison.name: comparison for comparison in (UPLIFT, REPLAY_GAP, LIKE_FOR_LIKE)
}
"""Every comparison by name."""


class Series(NamedTuple):
    """One metric in one comparison.

    Attributes:
        comparison: Which arms it compares.
        metric: The metric that is compared.
    """

    comparison: Comparison
    metric: Metric

    @property
    def name(self) -> str:
        """A unique name that can be part of a column name."""
        return f"{self.metric.column}_{self.comparison.name}"

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """The arms `base` and `other` of the comparison."""
        return self.comparison.base, self.comparison.other

    @property
    def better_and_worse(self) -> tuple[Arm, Arm]:
        """The two arms in the order of the subtraction: first minus second is positive where `other` is better."""
        base, other = self.arms
        return (other, base) if self.metric.direction > 0 else (base, other)
