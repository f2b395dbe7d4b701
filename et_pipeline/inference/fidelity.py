"""Is the replay true? What the interval of the replay gap says about a backtester."""

from __future__ import annotations

import sys
from typing import Literal

from et_pipeline.inference.twoway import MIN_CLUSTERS

State = Literal["faithful", "unfaithful", "not_yet", "unknown"]

GAP = ("mean_uplift", "se", "ci_lower", "ci_upper", "effective_clusters", "ready")
"""The columns of a row of a path that are the arguments of `gap_ends`."""
MIN_COVERAGE = 0.5
"""Share of the pairs that a replay of the control must cover before anything follows from these replays."""


def replay_state(coverage: float, lower: float | None, upper: float | None, margin: float | None) -> State:
    """Whether a backtester is faithful, judged by its replay of the control's own trades.

    Args:
        coverage: Share of the pairs of which the control was replayed too.
        lower: Lower end of the interval of the gap (replayed control minus live control), None where there is none.
        upper: Upper end of that interval.
        margin: Largest gap that does no harm, above 0. None where the plan does not say: then every gap whose interval
            excludes 0 is too large.

    Returns:
        `unknown` if the coverage is below `MIN_COVERAGE`; `faithful` if the interval lies within the margin,
        `unfaithful` if it lies completely outside on one side; otherwise `not_yet`.

    >>> replay_state(0.9, -0.2, 0.4, 1.0), replay_state(0.9, 1.2, 2.8, 1.0), replay_state(0.9, 0.4, 2.0, 1.0)
    ('faithful', 'unfaithful', 'not_yet')
    >>> replay_state(0.4, 1.2, 2.8, 1.0), replay_state(0.9, 0.4, 2.0, None)
    ('unknown', 'unfaithful')
    """
    if coverage < MIN_COVERAGE:
        return "unknown"
    allowed = margin or 0.0
    if lower is not None and upper is not None and -allowed < lower <= upper < allowed:
        return "faithful"
    if (lower is not None and lower > allowed) or (upper is not None and upper < -allowed):
        return "unfaithful"
    return "not_yet"


def same_everywhere(mean: float | None, se: float | None) -> bool:
    """Whether every pair has the same value, apart from rounding errors."""
    return mean is not None and se is not None and se <= 4 * sys.float_info.epsilon * abs(mean)


def gap_ends(
    *,
    mean_uplift: float | None,
    se: float | None,
    ci_lower: float | None,
    ci_upper: float | None,
    effective_clusters: float,
    ready: bool,
) -> tuple[float | None, float | None]:
    """The ends of a gap's interval, from a row of its path; None where they are not known.

    With fewer than 10 effective clusters they are not known. A gap that is the same in every pair (the backtester has a
    constant bias) has no spread and needs no interval: both ends are the gap itself.
    """
    if not effective_clusters >= MIN_CLUSTERS:
        return None, None
    if not ready:
        return (mean_uplift, mean_uplift) if same_everywhere(mean_uplift, se) else (None, None)
    return ci_lower, ci_upper
