"""Builds the messages of an experiment: reason codes, drift signals and review requests.

Each builder is pure. A message's id is derived from its content, so the same event always gives the same message.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from et_pipeline.common import text
from et_pipeline.contracts import reason_codes
from et_pipeline.contracts.messages import (
    DriftSignal,
    Event,
    event_id,
    isoformat,
    promotion_review_event,
    reason_code_event,
)
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.contracts.plan import AMENDABLE, content_hash
from et_pipeline.contracts.reason_codes import ReasonCode
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.governance.explain import hindsight_sentence
from et_pipeline.governance.stall import Outage
from et_pipeline.governance.terms import Alarm, Drift, Missing, Point, Sample, fidelity_of
from et_pipeline.governance.verdict import Assessment, point_evidence, rounded
from et_pipeline.inference.twoway import MIN_CLUSTERS

SAMPLE = "Its reports are generated sample data, so they are no evidence."
"""The sentence in messages about a plan with `sample: true`."""
MAX_LOG_EVIDENCE = 700.0
"""Larger evidence is sent as e^700, since a floating-point number cannot be much larger."""


def started(experiment: RegisteredExperiment, at: datetime) -> Event:
    """A new experiment was registered; once per plan."""
    frozen = {key: value for key, value in json.loads(experiment.plan).items() if key not in AMENDABLE}
    return _report(
        reason_codes.STARTED,
        experiment,
        at,
        period="",
        message=f"Experiment {experiment.experiment_id} ({experiment.title}) was registered; "
        "its statistical plan is frozen from now on.",
        payload={"plan": frozen, "plan_hash": experiment.plan_hash},
    )


def large_split(experiment: RegisteredExperiment, at: datetime, evidence_hash: str) -> Event:
    """The split is above 50 %; once per plan and split."""
    split = experiment.traffic_split_pct
    return _report(
        reason_codes.LARGE_SPLIT_WARN,
        experiment,
        at,
        period=f"split={split:g}",
        message=f"{experiment.experiment_id} plans {split:g} % of the traffic for the variant. "
        "It waits for a human's valid sign-off.",
        payload={"traffic_split_pct": split, "evidence_hash": evidence_hash, "waits_for": "sign-off"},
    )


def insufficient(
    experiment: RegisteredExperiment, at: datetime, period: str, point: Point | None, missing: list[Missing]
) -> Event:
    """A minimum is missing; once per experiment and UTC day, and at `ends_at`."""
    return _report(
        reason_codes.INSUFFICIENT_SAMPLES,
        experiment,
        at,
        period=period,
        message=f"{experiment.experiment_id} cannot be decided yet: "
        + " ".join(item.sentence for item in missing),
        payload={
            "period": period,
            "n_pairs": 0 if point is None else point.n_pairs,
            "min_samples_for_decision": experiment.min_samples_for_decision,
            "effective_clusters": 0.0 if point is None else rounded(point.effective_clusters),
            "min_effective_clusters": MIN_CLUSTERS,
            "missing": [item._asdict() for item in missing],
            "expected_further_pairs": max((item.further_pairs or 0 for item in missing), default=None),
        },
    )


def stalled(experiment: RegisteredExperiment, at: datetime, outage: Outage) -> Event:
    """Reports cannot be read; once per experiment and outage."""
    return _report(
        reason_codes.STALLED,
        experiment,
        at,
        period=f"{outage.source}@{isoformat(outage.since)}",
        message=f"{experiment.experiment_id} has been paused since {outage.since:%Y-%m-%d %H:%M} UTC: "
        f"{outage.reason}. It continues by itself when the outage is over, and nothing is lost.",
        payload={"source": outage.source, "since": isoformat(outage.since), "reason": outage.reason},
    )


def result(
    experiment: RegisteredExperiment, at: datetime, assessment: Assessment, evidence_hash: str
) -> Event:
    """There is a verdict; once per experiment, since it has only one verdict."""
    return _report(
        reason_codes.RESULT,
        experiment,
        at,
        period="",
        message=assessment.sentence,
        payload={
            "verdict": assessment.verdict,
            "reason": assessment.reason,
            "evidence": assessment.evidence,
            "evidence_hash": evidence_hash,
            "replay_fidelity": _replay_fidelity(experiment, assessment.sample),
            "promotion_review_requested": experiment.request_review
            and assessment.verdict == "variant_better",
        },
    )


def _replay_fidelity(experiment: RegisteredExperiment, sample: Sample) -> dict[str, Any] | None:
    """Whether the replay on which a verdict is based is faithful, as part of a message; None in limited live."""
    fidelity = fidelity_of(experiment, sample)
    if fidelity is None:
        return None
    return {"state": fidelity.state, "coverage": rounded(fidelity.coverage), "margin": fidelity.margin}


def review(
    experiment: RegisteredExperiment,
    at: datetime,
    evidence_hash: str,
    about: str = "",
    already_there: float | None = None,
    discovery: str = "",
) -> Event:
    """Asks humans to look at the evidence; it promotes nothing.

    Args:
        experiment: The experiment.
        at: When it is sent.
        evidence_hash: Hash of the evidence that they are asked to judge.
        about: Which opportunities the evidence covers and what is known of the replay, see `about_sentence`.
        already_there: Share of the pairs that existed before the registration; None if it was not in hindsight.
        discovery: A sentence that says whether the discovery stands when all experiments are counted.
    """
    notes = [discovery] if discovery else []
    if experiment.registered_in_hindsight:
        notes.append(hindsight_sentence(experiment.registered_at, experiment.starts_at, already_there))
    if experiment.sample:
        notes.append(SAMPLE)
    people = "a reviewer" if experiment.approvers == 1 else f"{experiment.approvers} different reviewers"
    return promotion_review_event(
        experiment_id=experiment.experiment_id,
        plan_hash=experiment.plan_hash,
        evidence_hash=evidence_hash,
        approvers=experiment.approvers,
        message=f"The variant of {experiment.experiment_id} was found better.{about} Please look at the evidence. "
        + " ".join(
            [
                f"{people[0].upper()}{people[1:]} may approve or decline with a sign-off. This message promotes "
                "nothing.",
                *notes,
            ]
        ),
        registered_in_hindsight=experiment.registered_in_hindsight,
        already_there=already_there,
        emitted_at=at,
    )


def interval_signal(
    experiment: RegisteredExperiment, at: datetime, alarm: Alarm, since: datetime | None
) -> DriftSignal:
    """A metric's interval lies below minus its margin; once per experiment, metric and trigger."""
    point = alarm.point
    return DriftSignal(
        signal_id=_signal_id(experiment, point.metric, alarm.trigger),
        experiment_id=experiment.experiment_id,
        control_strategy_id=experiment.control_strategy_id,
        variant_strategy_id=experiment.variant_strategy_id,
        metric=point.metric,
        trigger=alarm.trigger,
        uplift=rounded(point.mean_uplift),
        ci_lower=rounded(point.alarm_ci_lower),
        ci_upper=rounded(point.alarm_ci_upper),
        n_pairs=point.n_pairs,
        effective_clusters=point.effective_clusters,
        e_value=rounded(point.e_value),
        since=since,
        plan_hash=experiment.plan_hash,
        evidence_hash=_signal_evidence(experiment, alarm.trigger, point_evidence(point)),
        emitted_at=at,
    )


def detector_signal(
    experiment: RegisteredExperiment, at: datetime, drift: Drift, point: Point | None
) -> DriftSignal:
    """The change detector found that a metric fell; once per experiment and metric.

    Args:
        experiment: The experiment.
        at: When it is sent.
        drift: The detector's first alarm.
        point: The metric's interval at that moment, None where there is none.
    """
    figures = {
        "as_of": isoformat(drift.as_of),
        "log_evidence": rounded(drift.log_evidence),
        "since": None if drift.since is None else isoformat(drift.since),
    }
    return DriftSignal(
        signal_id=_signal_id(experiment, drift.metric, "detector"),
        experiment_id=experiment.experiment_id,
        control_strategy_id=experiment.control_strategy_id,
        variant_strategy_id=experiment.variant_strategy_id,
        metric=drift.metric,
        trigger="detector",
        uplift=None if point is None else rounded(point.mean_uplift),
        ci_lower=None if point is None else rounded(point.ci_lower),
        ci_upper=None if point is None else rounded(point.ci_upper),
        n_pairs=0 if point is None else point.n_pairs,
        effective_clusters=0.0 if point is None else point.effective_clusters,
        e_value=rounded(math.exp(min(drift.log_evidence, MAX_LOG_EVIDENCE))),
        since=drift.since,
        plan_hash=experiment.plan_hash,
        evidence_hash=_signal_evidence(experiment, "detector", figures),
        emitted_at=at,
    )


def signal_sentence(signal: DriftSignal) -> str:
    """A drift signal as a sentence for people."""
    unit = metric_of(signal.metric).unit
    mean = (
        "" if signal.uplift is None else f" Its mean uplift so far is {text.number(signal.uplift, 3)} {unit}."
    )
    since = (
        "" if signal.since is None else f" It seems to have begun around {signal.since:%Y-%m-%d %H:%M} UTC."
    )
    how = {
        "interval": "its whole confidence interval lies below zero",
        "guardrail": "it loses more than the margin of the guardrail allows",
        "detector": "the change detector found that the mean fell",
    }[signal.trigger]
    return (
        f"The variant {signal.variant_strategy_id} of {signal.experiment_id} underperforms in {signal.metric}: "
        f"{how}.{mean}{since} This message is information and asks for no change."
    )


def _report(
    code: ReasonCode,
    experiment: RegisteredExperiment,
    at: datetime,
    *,
    period: str,
    message: str,
    payload: dict[str, Any],
) -> Event:
    return reason_code_event(
        code,
        experiment_id=experiment.experiment_id,
        strategy_id=experiment.variant_strategy_id,
        plan_hash=experiment.plan_hash,
        period=period,
        message=message,
        emitted_at=at,
        payload=payload,
    )


def _signal_id(experiment: RegisteredExperiment, metric: str, trigger: str) -> str:
    return event_id(experiment.experiment_id, "drift_signal", experiment.plan_hash, f"{metric}/{trigger}")


def _signal_evidence(experiment: RegisteredExperiment, trigger: str, figures: dict[str, Any]) -> str:
    return content_hash({"plan_hash": experiment.plan_hash, "trigger": trigger, "figures": figures})
