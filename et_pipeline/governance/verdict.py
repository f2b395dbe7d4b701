"""The verdict rules: interval paths → the first verdict along them, or what is still missing.

Pure: no database, no clock. The rules (design, "Verdict"):

- `variant_better`: the primary's lower end is above 0, and every guardrail's lower end is above minus its
  margin. All must pass, so no correction is needed.
- `variant_worse`: the primary's upper end is below 0, or a guardrail's upper end is below minus its margin.
  Any may alarm, so these intervals are taken at `alpha / (1 + guardrails)`.
- `equivalent`: the primary's interval lies within plus and minus `equivalence_margin`.
- `inconclusive`: the experiment ended without one of these.

The verdict is the first one along the path, at the end of a closed block, from a healthy sample: enough
pairs, enough effective clusters, no sample-ratio alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from et_pipeline.contracts.messages import isoformat
from et_pipeline.governance.explain import missing_conditions, verdict_sentence
from et_pipeline.governance.terms import (
    Alarm,
    Missing,
    Point,
    Terms,
    Verdict,
    above,
    below,
    healthy,
    margin_of,
)
from et_pipeline.inference.twoway import MIN_CLUSTERS

SIGNIFICANT_DIGITS = 9
"""Figures in evidence are rounded, so that its hash does not hang on the order of floating-point sums."""


class Assessment(NamedTuple):
    """What follows from the paths.

    Attributes:
        verdict: The first verdict along the path, None where there is none yet.
        reason: Machine-readable: why this verdict, or the first condition that is missing.
        sentence: The same for a non-statistician.
        decided_as_of: End of the block that decided.
        points: Each metric's interval at the decision, or the newest one.
        missing: What keeps a verdict away; empty where there is one.
        alarms: Where the variant underperformed, one for each metric.
        evidence: The figures behind the verdict, ready to be hashed; None without a verdict.
    """

    verdict: Verdict | None
    reason: str
    sentence: str
    decided_as_of: datetime | None
    points: dict[str, Point]
    missing: tuple[Missing, ...]
    alarms: tuple[Alarm, ...]
    evidence: dict[str, Any] | None


def assess(
    terms: Terms,
    points: Iterable[Point],
    *,
    sample_ratio_alarm: datetime | None = None,
    ended: bool = False,
) -> Assessment:
    """Walks along the interval paths to the first verdict.

    Args:
        terms: What the plan fixes.
        points: Every metric's path, in order of `as_of`.
        sample_ratio_alarm: From when on the sample ratio is wrong, None where it is not.
        ended: Whether the experiment is over; then every block counts as closed.

    Returns:
        The verdict, or what is missing.
    """
    latest: dict[str, Point] = {}
    alarms: dict[str, Alarm] = {}
    decided: tuple[Verdict, str, dict[str, Point]] | None = None
    for as_of, group in groupby(points, key=lambda point: point.as_of):
        here = [point for point in group if point.closed or ended]
        latest.update((point.metric, point) for point in here)
        if not here or (sample_ratio_alarm is not None and as_of >= sample_ratio_alarm):
            continue
        raised = _alarms(terms, latest)
        for alarm in raised:
            alarms.setdefault(alarm.point.metric, alarm)
        if decided is None:
            outcome = _verdict(terms, latest, raised)
            decided = None if outcome is None else (*outcome, dict(latest))
    missing = () if decided else tuple(missing_conditions(terms, latest, sample_ratio_alarm))
    if decided is not None:
        verdict, reason, at = decided
        as_of = max(point.as_of for point in at.values())
    elif ended:
        verdict, reason, at, as_of = "inconclusive", "ended_without_decision", latest, terms.ends_at
    else:
        sentence = " ".join(["Not decided yet.", *(item.sentence for item in missing)])
        return Assessment(
            None, missing[0].condition, sentence, None, latest, missing, tuple(alarms.values()), None
        )
    return Assessment(
        verdict,
        reason,
        verdict_sentence(terms, verdict, at, missing, _alarms(terms, at)),
        as_of,
        at,
        missing,
        tuple(alarms.values()),
        _evidence(terms, verdict, reason, as_of, at),
    )


def _alarms(terms: Terms, latest: dict[str, Point]) -> list[Alarm]:
    """Metrics whose interval at the alarm's alpha lies below what they may lose."""
    return [
        Alarm("interval" if rule.role == "primary" else "guardrail", latest[rule.metric])
        for rule in (terms.primary, *terms.guardrails)
        if healthy(terms, latest.get(rule.metric))
        and below(latest[rule.metric].alarm_ci_upper, -margin_of(rule))
    ]


def _verdict(terms: Terms, latest: dict[str, Point], alarms: list[Alarm]) -> tuple[Verdict, str] | None:
    """Verdict and reason at one moment, None where nothing can be said."""
    if alarms:
        primary = any(alarm.trigger == "interval" for alarm in alarms)
        return "variant_worse", "primary_below_zero" if primary else "guardrail_below_margin"
    primary_point = latest.get(terms.primary.metric)
    if primary_point is None or not healthy(terms, primary_point):
        return None
    if above(primary_point.ci_lower, 0.0) and all(
        healthy(terms, latest.get(rule.metric)) and above(latest[rule.metric].ci_lower, -margin_of(rule))
        for rule in terms.guardrails
    ):
        return "variant_better", "primary_above_zero"
    margin = terms.primary.equivalence_margin
    if (
        margin is not None
        and above(primary_point.ci_lower, -margin)
        and below(primary_point.ci_upper, margin)
    ):
        return "equivalent", "within_equivalence_margin"
    return None


def rounded(value: float | None) -> float | None:
    """A figure as evidence carries it: finite and rounded, else None."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def point_evidence(point: Point) -> dict[str, Any]:
    """One interval as evidence carries it."""
    return {
        name: _plain(value) for name, value in point._asdict().items() if name not in ("closed", "metric")
    }


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return isoformat(value)
    return rounded(value) if isinstance(value, float) else value


def _evidence(
    terms: Terms,
    verdict: Verdict,
    reason: str,
    as_of: datetime,
    points: dict[str, Point],
) -> dict[str, Any]:
    return {
        "experiment_id": terms.experiment_id,
        "plan_hash": terms.plan_hash,
        "verdict": verdict,
        "reason": reason,
        "decided_as_of": isoformat(as_of),
        "alpha": terms.alpha,
        "alarm_alpha": terms.alarm_alpha,
        "tuning": rounded(terms.g),
        "min_samples_for_decision": terms.min_samples,
        "min_effective_clusters": MIN_CLUSTERS,
        "metrics": {
            rule.metric: {
                "role": rule.role,
                "non_inferiority_margin": rule.non_inferiority_margin,
                "equivalence_margin": rule.equivalence_margin,
                **point_evidence(points[rule.metric]),
            }
            for rule in terms.rules
            if rule.metric in points
        },
    }
