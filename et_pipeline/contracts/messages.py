"""The messages that the pipeline sends: reason codes as OperationsReports, drift signals, requests for a review.

None of these messages can ask another system to change a stage, an order or a trade.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from et_pipeline.contracts.reason_codes import ReasonCode

BOT_ID = "gov.experimenttracker"
SCHEMA_VERSION = "1.0"

Kind = Literal["reason_code", "drift_signal", "promotion_review"]


class Event(NamedTuple):
    """One message as the outbox stores it.

    Attributes:
        event_id: Derived from the content, so that the same event is emitted only once.
        kind: Which of the three kinds of message it is.
        experiment_id: The experiment that it is about.
        reason_code: The code, for a reason code.
        severity: The code's severity, or `WARN` for a drift signal and `INFO` for a review request.
        message: One plain sentence for a non-engineer.
        emitted_at: When the decision to send it was made (UTC).
        payload: The whole message as it is delivered.
    """

    event_id: str
    kind: Kind
    experiment_id: str
    reason_code: str | None
    severity: str
    message: str
    emitted_at: datetime
    payload: dict[str, Any]


def event_id(experiment_id: str, code: str, plan_hash: str, period: str) -> str:
    """The deterministic id of an event.

    Args:
        experiment_id: The experiment.
        code: Reason code, or the kind of message.
        plan_hash: The frozen plan's hash.
        period: What distinguishes it from other events of this plan and code, for example a UTC day; empty if there is
            only one per plan.

    Returns:
        32 hexadecimal digits.
    """
    parts = json.dumps([experiment_id, code, plan_hash, period], ensure_ascii=False)
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def isoformat(moment: datetime) -> str:
    """A moment as messages carry it: UTC with microseconds and `Z`; naive times are UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="microseconds").replace("+00:00", "Z")


def reason_code_event(
    code: ReasonCode,
    *,
    experiment_id: str,
    strategy_id: str,
    plan_hash: str,
    period: str,
    message: str,
    emitted_at: datetime,
    payload: dict[str, Any],
) -> Event:
    """A reason code as an emitted OperationsReport.

    The envelope has the same fields as the reports that come in. Those that describe one trade (`correlation_id`,
    `market_id`, `outcome_id`, `side`) are null, and `metrics` is empty, since this report is about an experiment.
    """
    identifier = event_id(experiment_id, code.code, plan_hash, period)
    document = {
        "schema_version": SCHEMA_VERSION,
        "report_id": identifier,
        "kind": "OperationsReport",
        "bot_id": BOT_ID,
        "strategy_id": strategy_id,
        "mode": "live",
        "correlation_id": None,
        "market_id": None,
        "outcome_id": None,
        "side": None,
        "emitted_at": isoformat(emitted_at),
        "config_version": plan_hash[:12],
        "metrics": {},
        "reason_code": code.code,
        "severity": code.severity,
        "message": message,
        "experiment_id": experiment_id,
        "plan_hash": plan_hash,
        "payload": payload,
    }
    return Event(
        identifier, "reason_code", experiment_id, code.code, code.severity, message, emitted_at, document
    )


class DriftSignal(NamedTuple):
    """The message to the StrategyRegistry that a variant underperforms; figures are in the metric's unit.

    Attributes:
        signal_id: The event's id.
        experiment_id: The experiment.
        control_strategy_id: Strategy of the control.
        variant_strategy_id: Strategy of the variant.
        metric: The metric that caused the alarm.
        trigger: `interval` (the primary's interval lies below 0), `guardrail` (a guardrail's lies below
            minus its margin) or `detector` (the change detector).
        uplift: Mean uplift.
        ci_lower: Lower end of the interval at the alpha of the alarm.
        ci_upper: Upper end of that interval.
        n_pairs: Number of pairs from which it was computed.
        effective_clusters: Number of effective clusters of these pairs.
        e_value: Evidence against the hypothesis that the variant is not worse.
        since: Estimated onset (UTC), where the detector gives one.
        plan_hash: The frozen plan's hash.
        evidence_hash: Hash of the evidence.
        emitted_at: When the decision to send it was made (UTC).
    """

    signal_id: str
    experiment_id: str
    control_strategy_id: str
    variant_strategy_id: str
    metric: str
    trigger: Literal["interval", "detector", "guardrail"]
    uplift: float | None
    ci_lower: float | None
    ci_upper: float | None
    n_pairs: int
    effective_clusters: float
    e_value: float | None
    since: datetime | None
    plan_hash: str
    evidence_hash: str
    emitted_at: datetime

    def event(self, message: str) -> Event:
        """The signal as a message for the outbox."""
        payload: dict[str, Any] = self._asdict()
        payload["since"] = None if self.since is None else isoformat(self.since)
        payload["emitted_at"] = isoformat(self.emitted_at)
        payload["message"] = message
        return Event(
            self.signal_id,
            "drift_signal",
            self.experiment_id,
            None,
            "WARN",
            message,
            self.emitted_at,
            payload,
        )


def promotion_review_event(
    *,
    experiment_id: str,
    plan_hash: str,
    evidence_hash: str,
    approvers: int,
    message: str,
    emitted_at: datetime,
    registered_in_hindsight: bool = False,
    already_there: float | None = None,
) -> Event:
    """A request to humans to look at the evidence and sign off or decline; it promotes nothing."""
    identifier = event_id(experiment_id, "promotion_review", plan_hash, evidence_hash)
    document = {
        "request_id": identifier,
        "kind": "PromotionReviewRequest",
        "bot_id": BOT_ID,
        "experiment_id": experiment_id,
        "plan_hash": plan_hash,
        "evidence_hash": evidence_hash,
        "approvers": approvers,
        "addressed_to": "human reviewers",
        "registered_in_hindsight": registered_in_hindsight,
        "already_there": already_there,
        "message": message,
        "emitted_at": isoformat(emitted_at),
    }
    return Event(identifier, "promotion_review", experiment_id, None, "INFO", message, emitted_at, document)
