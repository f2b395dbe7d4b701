"""Series: everything that has an interval. A new kind is one more entry of `COMPARISONS`.

A series is one metric in one comparison of two arms of an experiment; its key is (experiment_id, comparison, metric).
Every series has the same cells, the same path and the same rows, in the tables `series_...`; the tables that analysts
know are views of them (see `warehouse.views`).
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
        base: The arm that is compared with. In cells its totals are the columns `..._control`.
        other: The arm that is compared. In cells its totals are the columns `..._variant`.
        diagnosed: Whether `diagnostics` are made of it.
        watched: Whether the drift detector watches it.
        limited: What the plan's winsor limits hold: each of the two `values`, or their `difference`, which is held
            within the distance of the limits. What shifts both values alike then changes nothing.
    """

    name: str
    base: Arm
    other: Arm
    diagnosed: bool
    watched: bool
    limited: Literal["values", "difference"] = "values"


UPLIFT = Comparison("uplift", "control", "variant", diagnosed=True, watched=True)
REPLAY_GAP = Comparison("replay_gap", "control", "replay", diagnosed=False, watched=False)
"""What the backtester flatters: the replayed control against the live one."""
LIKE_FOR_LIKE = Comparison(
    "like_for_like", "replay", "variant", diagnosed=False, watched=True, limited="difference"
)
"""The variant's replay against the replayed control: what the backtester does to both alike cancels."""
BEFORE = "before"
"""Where all trades are compared: cells of the control's trades before the experiment began, as long as it lasts. They
are no series of their own; beside the control's trades since then they tell whether its level moved."""
COMPARISONS: dict[str, Comparison] = {
    comparison.name: comparison for comparison in (UPLIFT, REPLAY_GAP, LIKE_FOR_LIKE)
}
"""Every comparison by name."""


class Series(NamedTuple):
    """One metric in one comparison.

    Attributes:
        comparison: Which arms it compares.
        metric: What it compares of them.
    """

    comparison: Comparison
    metric: Metric

    @property
    def name(self) -> str:
        """A name of its own, which may be part of a column's."""
        return f"{self.metric.column}_{self.comparison.name}"

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """The arm compared with, and the arm compared."""
        return self.comparison.base, self.comparison.other

    @property
    def better_and_worse(self) -> tuple[Arm, Arm]:
        """From which arm's value the other's is taken, so that positive is good for the arm compared."""
        base, other = self.arms
        return (other, base) if self.metric.direction > 0 else (base, other)
