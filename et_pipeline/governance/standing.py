"""The one judge: the checklist behind a verdict, how each metric stands, and what a person does next.

It judges the same sample from which the verdict follows (the one that decided, or that of the newest closed block),
and its judgement is stored beside the verdict, see `judgement.py`. The conditions are in `checklist.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from et_pipeline.common.numbers import finite
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.governance.checklist import approvals_condition, checklist, count_of_approvals
from et_pipeline.governance.explain import fidelity_sentence
from et_pipeline.governance.judgement import FIGURES, Judgement, Reading, Replay, Standing
from et_pipeline.governance.next_steps import CONTRADICTED, OF_REPLAY, WEAKENED, command, next_step
from et_pipeline.governance.records import SampleRatio
from et_pipeline.governance.terms import (
    Point,
    Sample,
    alarms,
    below_minimum,
    equal,
    fidelity_of,
    healthy,
    holds,
    judged,
    replays_missing,
    values_missing,
)
from et_pipeline.governance.verdict import Assessment
from et_pipeline.governance.worth import money, unbiased

ROLES = ("primary", "guardrail", "secondary")


def judge(
    experiment: RegisteredExperiment,
    assessment: Assessment,
    *,
    state: str,
    reason: str,
    decided: bool,
    closed_until: datetime | None,
    sample_ratio: SampleRatio | None,
    split_approved: bool,
    failing: Collection[str],
    approvals: int = 0,
    path: Sequence[Point] = (),
) -> Judgement:
    """Judges one experiment: its checklist, each metric's standing, and what a person does next.

    Args:
        experiment: The experiment.
        assessment: The verdict that follows from its paths, or what is missing.
        state: Its state.
        reason: The reason of its verdict or state (`verdicts.reason`).
        decided: Whether the assessment's verdict is the one in `verdicts`.
        closed_until: End of the newest closed block.
        sample_ratio: The newest shares of the arms; None where they are not compared.
        split_approved: Whether a human approved a large split.
        failing: Checks that fail for this experiment, see the query `failing`.
        approvals: How many people approved the promotion.
        path: The interval paths from which the assessment was made.
    """
    sample = assessment.sample
    metrics = sorted(experiment.metrics, key=lambda terms: (ROLES.index(terms.role), terms.name))
    standings = [_standing(experiment, sample, terms) for terms in metrics]
    conditions = checklist(
        experiment,
        sample,
        standings,
        [
            _standing(experiment, sample.like_for_like, terms)
            for terms in (experiment.primary, *experiment.guardrails)
        ],
        state=state,
        sample_ratio=sample_ratio,
        split_approved=split_approved,
    )
    missing = {item.condition for item in assessment.missing} | set(failing)
    step = next_step(
        state, assessment.verdict if decided else None, missing, reason, follows=bool(experiment.follows)
    )
    review = ""
    if state in REVIEWED:
        conditions.append(approvals_condition(experiment, state, approvals))
        review = f"{REVIEWED[state]}: {count_of_approvals(experiment, approvals)}"
    if state == "promotion_review" and reason not in CONTRADICTED:
        step = f"{step} So far: {count_of_approvals(experiment, approvals)}."
        if assessment.weakened:
            step = f"{WEAKENED} {step}"
    present = assessment.present
    moved_on = decided and present.points != sample.points
    return Judgement(
        max((point.as_of for point in sample.points.values()), default=None),
        closed_until,
        standings,
        conditions,
        step,
        command(experiment.experiment_id, state, reason),
        [_standing(experiment, present, terms) for terms in metrics] if moved_on else [],
        decided and assessment.weakened,
        review,
        _replay(experiment, sample),
        money(experiment, sample),
        unbiased(experiment, assessment.verdict if decided else None, sample, path),
        _reading(experiment, sample) if decided and assessment.verdict == "variant_better" else None,
        _reading(experiment, present) if experiment.follows else None,
    )


def _reading(experiment: RegisteredExperiment, sample: Sample) -> Reading | None:
    """The primary's interval in the comparison that counts; None if nothing may be concluded from it."""
    deciding, name = judged(experiment, sample), experiment.primary.name
    if replays_missing(experiment, sample) or not healthy(experiment, deciding, name):
        return None
    point = deciding.points[name]
    mean, lower, upper = (finite(value) for value in (point.mean_uplift, point.ci_lower, point.ci_upper))
    if mean is None or lower is None or upper is None:
        return None
    return Reading(point.as_of, point.comparison, mean, lower, upper)


REVIEWED = {
    "promotion_review": "Waits for a review",
    "signed_off": "Approved by humans",
    "declined": "Declined by a human",
}
"""The states after humans were asked to review a better variant, in words."""


def _standing(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> Standing:
    tone, says = _judged(experiment, sample, terms)
    margin = terms.non_inferiority_margin
    return Standing(
        terms.name,
        terms.role,
        terms.metric.unit,
        _figures(sample.of(terms.name)),
        sample.missing_share(terms.name),
        None if margin is None else -margin,
        terms.equivalence_margin,
        tone,
        says,
    )


def _figures(point: Point | None) -> dict[str, Any]:
    if point is None:
        return dict.fromkeys(("as_of", *FIGURES))
    return {"as_of": point.as_of} | {name: finite(getattr(point, name)) for name in FIGURES}


def _judged(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> tuple[str, str]:
    """Tone and words of a metric, from the same conditions as the verdict."""
    point, guard = sample.of(terms.name), terms.role == "guardrail"
    if values_missing(experiment, sample, terms.name):
        return ("calm" if terms.role == "secondary" else "bad"), "too many values are missing"
    if terms.role == "secondary":
        return "calm", "for information"
    if alarms(experiment, sample, terms):
        return "bad", "beyond its margin" if guard else "below zero"
    if holds(experiment, sample, terms):
        return "good", "within its margin" if guard else "above zero"
    if not guard and equal(experiment, sample):
        return "calm", "within the equivalence margin"
    if point is None or not point.ready or finite(point.ci_lower) is None or finite(point.ci_upper) is None:
        return "open", "too early to say"
    if below_minimum(experiment, point):
        return "open", "too early to say"
    return "open", "may still exceed its margin" if guard else "may still be zero"


def _replay(experiment: RegisteredExperiment, sample: Sample) -> Replay | None:
    fidelity = fidelity_of(experiment, sample)
    if fidelity is None:
        return None
    return Replay(
        fidelity.state,
        fidelity.coverage,
        fidelity.margin,
        experiment.replay_required,
        fidelity_sentence(experiment, fidelity),
        OF_REPLAY[fidelity.state],
        _figures(fidelity.gap),
        _figures(fidelity.like),
    )
