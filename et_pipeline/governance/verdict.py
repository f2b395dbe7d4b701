"""The verdict rules: they find the first verdict along the interval paths, or what is still missing.

This module is pure: it uses no database and no clock. The rules:

- `variant_better`: the primary's lower end is above 0, and every guardrail's lower end is above minus its
  margin. All must pass, so no correction for multiple tests is needed.
- `variant_worse`: the primary's upper end is below 0, or a guardrail's upper end is below minus its margin.
  Any of them may raise the alarm, so these intervals have the alpha `alpha / (1 + guardrails)`.
- `equivalent`: the primary's interval lies within plus and minus `equivalence_margin`.
- `inconclusive`: the experiment ended without one of these.

If the backtester also replays the control, for at least half of the pairs, these rules are applied to two comparisons:
to the uplift, and like for like (the variant's replay against the replayed control). Both have to give the same
verdict. Only `variant_worse` follows from the comparison like for like alone, unless the uplift calls the variant
better. If the two disagree, nothing is concluded.

The verdict is the first one along the path. It can fall at a look of the plan (with the boundary that is valid for
ever: at the end of any block), when that block is closed, and if the sample is healthy: enough pairs, enough effective
clusters, no sample-ratio alarm. If too many pairs have no value of a metric, nothing good or bad is concluded about
that metric. For a guardrail this prevents `variant_better`; for the primary also `equivalent` and its own
`variant_worse`. An alarm of another guardrail whose values are complete still counts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from et_pipeline.contracts.messages import isoformat
from et_pipeline.contracts.series import LIKE_FOR_LIKE, UPLIFT
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.governance.explain import (
    NO_PAIRS,
    TELLING,
    about_sentence,
    missing_conditions,
    next_look_sentence,
    no_pairs,
    verdict_sentence,
)
from et_pipeline.governance.terms import (
    Alarm,
    Drift,
    Gap,
    Gaps,
    Missing,
    Point,
    Replays,
    Sample,
    Verdict,
    equal,
    fidelity_of,
    holds,
    judged,
    replays_missing,
    values_missing,
    verdict_at,
)
from et_pipeline.governance.terms import alarms as is_alarming
from et_pipeline.inference.twoway import MIN_CLUSTERS

NOT_EVIDENCE = ("closed", "metric", "comparison", "fixed_ci_lower", "fixed_ci_upper", "next_look_at")
"""The columns of an interval that are not part of the evidence: they have no influence on a verdict, or are its key."""
OF_LOOKS = ("look", "looks", "carried", "degrees_of_freedom")
"""The columns that only intervals of plans with looks have. They are left out of the evidence of other plans, so that
its hash does not change."""
OF_TRADES = ("n_control", "n_variant")
"""The columns that only comparisons of all trades have; they are left out elsewhere for the same reason."""
SIGNIFICANT_DIGITS = 9
"""Figures in the evidence are rounded, so that its hash does not depend on the order of floating-point sums."""


class Assessment(NamedTuple):
    """The result of the verdict rules for one experiment.

    Attributes:
        verdict: The first verdict along the path; None if there is none yet.
        reason: The reason of the verdict, or the first condition that is not met, as a machine-readable name.
        sentence: The result in sentences for people who are not statisticians.
        decided_as_of: End of the block at which the verdict fell.
        sample: The facts at the decision, or at the newest closed block if there is none.
        present: The facts at the newest closed block, also if the decision was made before it.
        weakened: Whether the facts in `present` would not give the verdict; this does not undo the verdict.
        missing: The conditions that are not met; empty if there is a verdict.
        alarms: The first alarm of each metric that showed that the variant underperforms.
        evidence: The figures from which the verdict follows, ready to be hashed; None without a verdict.
    """

    verdict: Verdict | None
    reason: str
    sentence: str
    decided_as_of: datetime | None
    sample: Sample
    missing: tuple[Missing, ...]
    alarms: tuple[Alarm, ...]
    evidence: dict[str, Any] | None
    present: Sample = Sample({}, {})
    weakened: bool = False

    @property
    def points(self) -> dict[str, Point]:
        """Each metric's interval at the decision, or at the newest closed block."""
        return self.sample.points


def assess(
    experiment: RegisteredExperiment,
    points: Iterable[Point],
    *,
    gaps: Iterable[Gap] = (),
    replays: Sequence[Replays] = (),
    sample_ratio_alarm: datetime | None = None,
    ended: bool = False,
    without_pairs: bool = False,
) -> Assessment:
    """Finds the first verdict along the interval paths.

    Args:
        experiment: The experiment.
        points: Every metric's path, in order of `as_of`.
        gaps: Numbers of pairs without a value, by metric and block, in order of `as_of`.
        replays: How many of the control's opportunities the variant reported, in order of `as_of`.
        sample_ratio_alarm: Since when there is a sample-ratio alarm; None without one.
        ended: Whether the experiment is over; if so, every block counts as closed.
        without_pairs: Whether it may end without a single pair, because it was not allowed to sample or its verdict was
            announced before. Otherwise there is no verdict without pairs, since its reports may still come.

    Returns:
        The verdict, or what is missing.
    """
    sample = Sample({}, {})
    waiting = deque(gaps)
    alarms: dict[str, Alarm] = {}
    decided: tuple[Verdict, str, Sample] | None = None
    for as_of, group in groupby(points, key=lambda point: point.as_of):
        here = [point for point in group if point.closed or ended]
        if not here:
            continue
        sample = sample.plus(here)._replace(
            gaps=_add(sample.gaps, waiting, as_of), replays=_until(replays, as_of)
        )
        between_looks = all(point.carried for point in here)
        wrong_split = sample_ratio_alarm is not None and as_of >= sample_ratio_alarm
        if between_looks or wrong_split or replays_missing(experiment, sample):
            continue
        raised = _alarms(experiment, judged(experiment, sample))
        for alarm in raised:
            alarms.setdefault(alarm.point.metric, alarm)
        if decided is None:
            outcome = verdict_at(experiment, sample)
            decided = None if outcome is None else (outcome, _reason(outcome, raised), sample)
    if ended and decided is None:
        sample = sample._replace(
            gaps=_add(sample.gaps, waiting, datetime.max), replays=_until(replays, datetime.max)
        )
    missing = () if decided else tuple(missing_conditions(experiment, sample, sample_ratio_alarm))
    if ended and not without_pairs and not sample.points and not sample.gaps:
        missing = (no_pairs(experiment), *missing)
        return Assessment(None, NO_PAIRS, missing[0].sentence, None, sample, missing, (), None, sample)
    present = sample
    if decided is not None:
        verdict, reason, sample = decided
        as_of = max(point.as_of for point in sample.points.values())
    elif ended:
        verdict, reason, as_of = "inconclusive", "ended_without_decision", experiment.ends_at
        if missing[0].condition in TELLING:
            reason = missing[0].condition
    else:
        return Assessment(
            None,
            missing[0].condition,
            _not_yet(experiment, sample, missing),
            None,
            sample,
            missing,
            tuple(alarms.values()),
            None,
            present,
        )
    return Assessment(
        verdict,
        reason,
        verdict_sentence(
            experiment, verdict, sample.points, missing, _alarms(experiment, judged(experiment, sample))
        )
        + about_sentence(experiment, sample),
        as_of,
        sample,
        missing,
        tuple(alarms.values()),
        _evidence(experiment, verdict, reason, as_of, sample),
        present,
        decided is not None and not _supports(experiment, present, verdict),
    )


def _not_yet(experiment: RegisteredExperiment, sample: Sample, missing: Sequence[Missing]) -> str:
    point = sample.of(experiment.primary.name)
    when = "" if point is None else next_look_sentence(point.looks, point.next_look_at)
    return " ".join(filter(None, ["Not decided yet.", *(item.sentence for item in missing), when]))


def first_alarms(
    experiment: RegisteredExperiment,
    points: Sequence[Point],
    gaps: Sequence[Gap],
    drifts: Iterable[Drift],
    replays: Sequence[Replays] = (),
) -> list[Drift]:
    """Each metric's first alarm of the change detector at which neither too many values nor replays were missing.

    If enough of the control is replayed, the detector of the comparison `like_for_like` counts.

    Args:
        experiment: The experiment.
        points: Every metric's path, in order of `as_of`.
        gaps: Numbers of pairs without a value, in order of `as_of`.
        drifts: The detector's alarms, in order of `as_of`.
        replays: How many of the control's opportunities the variant reported, in order of `as_of`.
    """
    found: dict[str, Drift] = {}
    for drift in drifts:
        if drift.metric in found:
            continue
        before = Sample({}, {}).plus(point for point in points if point.as_of <= drift.as_of)
        sample = before._replace(
            gaps=_add({}, deque(gaps), drift.as_of), replays=_until(replays, drift.as_of)
        )
        fidelity = fidelity_of(experiment, sample)
        watched = LIKE_FOR_LIKE if fidelity is not None and fidelity.counts else UPLIFT
        if drift.comparison != watched.name or replays_missing(experiment, sample):
            continue
        if not values_missing(experiment, sample, drift.metric):
            found[drift.metric] = drift
    return list(found.values())


def _until(replays: Sequence[Replays], as_of: datetime) -> Replays | None:
    """The newest numbers up to a moment."""
    place = bisect_right(replays, as_of, key=lambda item: item.as_of)
    return replays[place - 1] if place else None


def _add(gaps: dict[str, Gaps], waiting: deque[Gap], as_of: datetime) -> dict[str, Gaps]:
    """The gaps after those of the blocks up to a moment were added; these are removed from `waiting`."""
    found = dict(gaps)
    while waiting and waiting[0].as_of <= as_of:
        gap = waiting.popleft()
        found[gap.metric] = found.get(gap.metric, Gaps()).plus(gap)
    return found


def _alarms(experiment: RegisteredExperiment, sample: Sample) -> list[Alarm]:
    """An alarm for each metric that shows that the variant underperforms."""
    return [
        Alarm("interval" if terms.role == "primary" else "guardrail", sample.points[terms.name])
        for terms in (experiment.primary, *experiment.guardrails)
        if is_alarming(experiment, sample, terms)
    ]


def _reason(verdict: Verdict, alarms: list[Alarm]) -> str:
    """The reason of a verdict, as a machine-readable name."""
    if verdict == "variant_worse":
        primary = any(alarm.trigger == "interval" for alarm in alarms)
        return "primary_below_zero" if primary else "guardrail_below_margin"
    return "primary_above_zero" if verdict == "variant_better" else "within_equivalence_margin"


def _supports(experiment: RegisteredExperiment, sample: Sample, verdict: Verdict) -> bool:
    """Whether a verdict still follows from a sample."""
    deciding = judged(experiment, sample)
    if verdict == "variant_worse":
        return bool(_alarms(experiment, deciding))
    both = (sample, deciding)
    if verdict == "variant_better":
        decisive = (experiment.primary, *experiment.guardrails)
        return all(holds(experiment, comparison, terms) for comparison in both for terms in decisive)
    return verdict == "inconclusive" or all(equal(experiment, comparison) for comparison in both)


def rounded(value: float | None) -> float | None:
    """A figure in the form for the evidence: rounded; None if it is unknown or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def point_evidence(point: Point) -> dict[str, Any]:
    """One interval in the form for the evidence."""
    left_out = NOT_EVIDENCE if point.looks is not None else (*NOT_EVIDENCE, *OF_LOOKS)
    if point.n_control is None:
        left_out = (*left_out, *OF_TRADES)
    return {name: _plain(value) for name, value in point._asdict().items() if name not in left_out}


def _missing_evidence(gaps: Gaps) -> dict[str, int]:
    """The numbers of pairs without a value. Zeros are left out, so that hashes of older evidence do not change."""
    return {f"missing_{name}": count for name, count in gaps._asdict().items()} if gaps.pairs else {}


def _replays_evidence(replays: Replays | None) -> dict[str, Any]:
    """The numbers of passes and missing replays; zeros are left out as in `_missing_evidence`."""
    if replays is None or replays.traded == replays.opportunities:
        return {}
    return {"replays": {name: _plain(value) for name, value in replays._asdict().items()}}


def _fidelity_evidence(experiment: RegisteredExperiment, sample: Sample) -> dict[str, Any]:
    """The intervals of comparisons with the replayed control; left out if it was not replayed, see
    `_missing_evidence`."""
    fidelity = fidelity_of(experiment, sample)
    if fidelity is None or fidelity.like is None:
        return {}
    compared = {
        name: {metric: point_evidence(found[metric]) for metric in sorted(found)}
        for name, found in sorted(sample.compared.items())
    }
    figures = {"state": fidelity.state, "coverage": rounded(fidelity.coverage), "margin": fidelity.margin}
    return {"replayed_control": figures | compared}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return isoformat(value)
    return rounded(value) if isinstance(value, float) else value


def _evidence(
    experiment: RegisteredExperiment,
    verdict: Verdict,
    reason: str,
    as_of: datetime,
    sample: Sample,
) -> dict[str, Any]:
    return {
        "experiment_id": experiment.experiment_id,
        "plan_hash": experiment.plan_hash,
        "verdict": verdict,
        "reason": reason,
        "decided_as_of": isoformat(as_of),
        "alpha": experiment.alpha,
        "alarm_alpha": experiment.alarm_alpha,
        "tuning": rounded(experiment.g),
        "min_samples_for_decision": experiment.min_samples_for_decision,
        "min_effective_clusters": MIN_CLUSTERS,
        **({} if experiment.boundary == "mixture" else {"boundary": experiment.boundary}),
        **_replays_evidence(sample.replays),
        **_fidelity_evidence(experiment, sample),
        "metrics": {
            terms.name: {
                "role": terms.role,
                "non_inferiority_margin": terms.non_inferiority_margin,
                "equivalence_margin": terms.equivalence_margin,
                **point_evidence(sample.points[terms.name]),
                **_missing_evidence(sample.missing(terms.name)),
            }
            for terms in experiment.metrics
            if terms.name in sample.points
        },
    }
