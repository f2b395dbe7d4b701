"""One evaluation of experiments: all that follows from reports, plans and sign-offs is written in one transaction.

It changes states, announces verdicts, writes events into the outbox, and records all of it in the audit log.
Nothing here asks another system to change anything. The last state of an experiment is `signed_off`, which it reaches
only by valid signatures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import insert_row
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.messages import DriftSignal, Event, isoformat
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT, content_hash
from et_pipeline.contracts.series import UPLIFT
from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments
from et_pipeline.governance import announce, lifecycle, notices, portfolio, promises, records, stall
from et_pipeline.governance.contract import contract_fingerprint
from et_pipeline.governance.explain import (
    NO_PAIRS,
    about_sentence,
    contradiction_sentence,
    hindsight_sentence,
    weakened_sentence,
)
from et_pipeline.governance.judgement import dumps
from et_pipeline.governance.notices import Notice
from et_pipeline.governance.records import Announced, Facts
from et_pipeline.governance.reference import fill_reason_codes, fill_strategy_usage, record_mode
from et_pipeline.governance.sign_offs import Asked, SignOff, read_sign_offs, split_evidence
from et_pipeline.governance.standing import judge
from et_pipeline.governance.terms import Drift, Point
from et_pipeline.governance.unit_of_work import UnitOfWork, begin_work
from et_pipeline.governance.verdict import Assessment, assess, first_alarms
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import transaction

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings

NOT_DECIDING = {
    "registered": "The experiment has not started: starts_at lies in the future.",
    "awaiting_sign_off": f"The split is above {LARGE_SPLIT_PCT:g} %, and a human's valid sign-off is missing.",
    "split_declined": "A human declined the split, so no sampling takes place with this split.",
    "stalled": "Reports cannot be read: sampling and verdicts pause until they can.",
}
"""States without a verdict, whatever the reports contain, each with the reason; also for a split that was declined."""


class DecideResult(NamedTuple):
    """What one evaluation changed.

    Attributes:
        states: State of every evaluated experiment.
        transitions: Changes of state: experiment, from, to.
        events: Number of events written into the outbox.
        signals: Number of drift signals among them.
        refused_sign_offs: Sign-off files that do not count, each with the reason.
        contradicted: Experiments whose announced verdict no longer follows from the evidence.
        outages: The reasons why reports cannot be read; empty if they can.
    """

    states: dict[str, str]
    transitions: list[tuple[str, str | None, str]]
    events: list[Event]
    signals: list[DriftSignal]
    refused_sign_offs: list[tuple[str, str]]
    contradicted: list[str]
    outages: list[stall.Outage]


def together(parts: Sequence[DecideResult]) -> DecideResult:
    """The results of evaluations of different experiments as one result."""
    states: dict[str, str] = {}
    for part in parts:
        states |= part.states
    _, *lists = ([item for found in column for item in found] for column in zip(*parts, strict=True))
    transitions, events, signals, refused, contradicted, outages = lists
    once = list(dict.fromkeys(refused)), contradicted, list(dict.fromkeys(outages))  # each part has these
    return DecideResult(states, transitions, events, signals, *once)


def admit(
    connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime, experiments: Sequence[str]
) -> list[tuple[str, str | None, str]]:
    """Lets new experiments begin sampling, after a sign-off where the split is large; one transaction.

    It runs before pairing, so that a sign-off has its effect in the tick that finds it.

    Args:
        connection: The warehouse, outside any transaction.
        settings: The places of sign-offs and allowed signers, and the allowed mode.
        now: The moment of the evaluation.
        experiments: Ids of the experiments to evaluate.

    Returns:
        Changes of state: experiment, from, to.
    """
    known = registered_experiments(connection, experiments)
    states = lifecycle.states(connection)
    asked = any(
        item.needs_split_sign_off and states.get(item.experiment_id) in lifecycle.BEFORE_SAMPLING
        for item in known
    )
    checked = _read_sign_offs(connection, settings, now) if asked else []
    with transaction(connection):
        record_mode(connection, settings, now)
        work = begin_work(connection, now, checked, [])
        for experiment in known:
            _before_sampling(work, experiment)
    audit.write_anchor(connection, settings)
    return work.transitions


def decide(
    connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime, experiments: Sequence[str]
) -> DecideResult:
    """Evaluates the experiments and writes all results in one transaction.

    Args:
        connection: The warehouse, outside any transaction.
        settings: The places of snapshots, sign-offs and allowed signers, and the allowed mode.
        now: The moment of the evaluation.
        experiments: Ids of the experiments to evaluate.

    Returns:
        What changed.
    """
    checked = _read_sign_offs(connection, settings, now)
    with transaction(connection):
        record_mode(connection, settings, now)
        stall.watch_report_bus(connection, settings, now)
        fill_reason_codes(connection)
        work = begin_work(connection, now, checked, stall.stalling(connection, settings))
        facts = records.facts(connection, experiments)
        contradicted = []
        known = registered_experiments(connection, experiments)
        for experiment in known:
            contradicted += _judge(work, experiment, facts[experiment.experiment_id])
        discoveries = portfolio.refresh(connection, settings, now)
        promises.refresh(connection)
        for name, review in work.reviews.items():
            work.emit(review(discoveries[name]))
        refused = work.sign_offs.close({experiment.experiment_id for experiment in known})
        fill_strategy_usage(connection)
    audit.write_anchor(connection, settings)
    states = {experiment.experiment_id: work.states[experiment.experiment_id] for experiment in known}
    return DecideResult(
        states, work.transitions, work.events, work.signals, refused, contradicted, work.outages
    )


def _read_sign_offs(
    connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime
) -> list[SignOff]:
    """The sign-off files that do not count yet. It runs outside the transaction, since `ssh-keygen` is slow."""
    remembered = records.remembered_checks(connection)
    counted = records.counted_hashes(connection)
    found = read_sign_offs(settings, now, records.owners(connection), counted, remembered)
    records.remember_checks(connection, remembered, found)
    return found


def _judge(work: UnitOfWork, experiment: RegisteredExperiment, facts: Facts) -> list[str]:
    """Evaluates one experiment; returns a list with its id if its announced verdict is contradicted, else an empty
    one."""
    declined = _before_sampling(work, experiment)
    _stall_or_resume(work, experiment)
    identifier = experiment.experiment_id
    announced = work.announced.get(identifier)
    sampled = work.states[identifier] not in lifecycle.BEFORE_SAMPLING and (
        announced is None or announced.trigger != "ended"
    )
    ended = work.ended(experiment)
    if sampled:
        ratio = facts.sample_ratio
        assessment = assess(
            experiment,
            facts.path,
            gaps=facts.gaps,
            replays=facts.replays,
            sample_ratio_alarm=None if ratio is None else ratio.alarm_since,
            ended=ended,
            without_pairs=announced is not None,
        )
    else:
        assessment = assess(experiment, [], ended=ended, without_pairs=True)._replace(
            sentence="The experiment ended before sampling was allowed to begin, so nothing was decided."
        )
    already_there = _already_there(experiment, facts.path, assessment.decided_as_of) if sampled else None
    if experiment.registered_in_hindsight:
        hindsight = hindsight_sentence(experiment.registered_at, experiment.starts_at, already_there)
        assessment = assessment._replace(sentence=f"{assessment.sentence} {hindsight}")
    if work.states[identifier] == "sampling":
        _insufficient(work, experiment, assessment, ended)
        if assessment.verdict is not None:
            announced = _conclude(work, experiment, assessment, "verdict")
    elif work.states[identifier] == "awaiting_sign_off" and assessment.verdict is not None:
        announced = _conclude(work, experiment, assessment, "ended")
    if sampled and work.states[identifier] != "stalled" and not experiment.follows:
        drifts = first_alarms(experiment, facts.path, facts.gaps, facts.drifts, facts.replays)
        _signals(work, experiment, facts.path, assessment, drifts)
    contradicted = announced is not None and announced.verdict != assessment.verdict
    approvals = _review(work, experiment, assessment, announced, contradicted, already_there)
    waits = "split_declined" if declined and work.states[identifier] == "awaiting_sign_off" else None
    closed = [point.as_of for point in facts.path if sampled and (point.closed or ended)]
    _write_verdict(
        work,
        experiment,
        assessment,
        announced,
        contradicted,
        waits,
        facts,
        max(closed, default=None),
        already_there,
        approvals,
    )
    return [identifier] if contradicted else []


def _already_there(
    experiment: RegisteredExperiment, path: list[Point], until: datetime | None
) -> float | None:
    """The share of the pairs that lie in blocks which began before the registration.

    Only pairs up to the decision count, if there is one. It is None if there are no pairs, or if the window did not
    begin before the registration.
    """
    if not experiment.registered_in_hindsight:
        return None
    primary = [
        (point.as_of, point.n_pairs)
        for point in path
        if point.metric == experiment.primary.name
        and point.comparison == UPLIFT.name
        and (until is None or point.as_of <= until)
    ]
    last = experiment.registered_at + timedelta(microseconds=experiment.time_block_us)
    there = max((n for as_of, n in primary if as_of < last), default=0)
    return there / max(n for _, n in primary) if primary else None


def _before_sampling(work: UnitOfWork, experiment: RegisteredExperiment) -> bool:
    """Lets a new experiment begin sampling, after a sign-off if its split is large; returns whether that was
    declined."""
    identifier = experiment.experiment_id
    evidence = split_evidence(identifier, experiment.traffic_split_pct)
    if work.states.get(identifier) is None:
        work.advance(
            experiment,
            "plan_registered",
            plan_hash=experiment.plan_hash,
            contract_fingerprint=contract_fingerprint(),
        )
        work.emit(announce.started(experiment, work.now))
    if experiment.needs_split_sign_off and work.states[identifier] == "registered":
        work.advance(experiment, "large_split", traffic_split_pct=experiment.traffic_split_pct)
        work.emit(announce.large_split(experiment, work.now, evidence))
    if work.states[identifier] == "awaiting_sign_off" and not experiment.needs_split_sign_off:
        work.advance(experiment, "split_lowered", traffic_split_pct=experiment.traffic_split_pct)
    asked = Asked(
        identifier, "split", experiment.plan_hash, (evidence,), experiment.allow_self_approval, approvers=1
    )
    answer = work.sign_offs.answer(asked)
    if naive_utc(work.now) >= experiment.starts_at:
        if work.states[identifier] == "registered":
            work.advance(experiment, "started")
        elif work.states[identifier] == "awaiting_sign_off" and answer.approved:
            work.advance(experiment, "split_approved", sign_offs=answer.approvals, signers=answer.signers)
    return bool(answer.declines)


def _stall_or_resume(work: UnitOfWork, experiment: RegisteredExperiment) -> None:
    identifier = experiment.experiment_id
    if work.states[identifier] == "stalled" and not work.outages:
        work.advance(experiment, "outage_over")
    elif work.states[identifier] == "sampling" and work.outages:
        work.advance(experiment, "outage", reasons=[outage.reason for outage in work.outages])
    if work.states[identifier] == "stalled":
        for outage in work.outages:
            work.emit(announce.stalled(experiment, work.now, outage))


def _insufficient(
    work: UnitOfWork, experiment: RegisteredExperiment, assessment: Assessment, ended: bool
) -> None:
    """Emits once per day, and at the end, which minimum is missing."""
    minimums = (NO_PAIRS, "too_few_pairs", "too_few_clusters", "too_few_blocks")
    missing = [item for item in assessment.missing if item.condition in minimums]
    if missing:
        period = "ends_at" if ended else f"{naive_utc(work.now):%Y-%m-%d}"
        point = assessment.sample.of(experiment.primary.name)
        work.emit(announce.insufficient(experiment, work.now, period, point, missing))


def _conclude(
    work: UnitOfWork, experiment: RegisteredExperiment, assessment: Assessment, trigger: str
) -> Announced:
    evidence_hash = content_hash(assessment.evidence)
    announced = Announced(
        str(assessment.verdict), str((assessment.evidence or {})["decided_as_of"]), evidence_hash, trigger
    )
    detail = announced._asdict()
    work.advance(
        experiment,
        detail.pop("trigger"),
        **detail,
        plan_hash=experiment.plan_hash,
        contract_fingerprint=contract_fingerprint(),
        batch=records.newest_batch(work.connection),
    )
    work.emit(announce.result(experiment, work.now, assessment, evidence_hash))
    return announced


def _signals(
    work: UnitOfWork,
    experiment: RegisteredExperiment,
    path: list[Point],
    assessment: Assessment,
    drifts: list[Drift],
) -> None:
    """Emits drift signals to the registry for metrics that underperform; once per metric and trigger."""
    since = {drift.metric: drift.since for drift in drifts}
    for alarm in assessment.alarms:
        work.signal(announce.interval_signal(experiment, work.now, alarm, since.get(alarm.point.metric)))
    for drift in drifts:
        series = (drift.comparison, drift.metric)
        before = [
            point
            for point in path
            if (point.comparison, point.metric) == series and point.as_of <= drift.as_of
        ]
        work.signal(announce.detector_signal(experiment, work.now, drift, before[-1] if before else None))


def _review(
    work: UnitOfWork,
    experiment: RegisteredExperiment,
    assessment: Assessment,
    announced: Announced | None,
    contradicted: bool,
    already_there: float | None,
) -> int:
    """Asks humans to review a better variant and carries out their answer; never for a contradicted verdict.

    Returns:
        How many people have approved so far.
    """
    identifier = experiment.experiment_id
    better = announced is not None and announced.verdict == "variant_better"
    review_due = work.states[identifier] == "concluded" and experiment.request_review and not contradicted
    if better and announced and review_due:
        work.advance(experiment, "variant_better", evidence_hash=announced.evidence_hash)
        about = about_sentence(experiment, assessment.sample)
        work.reviews[identifier] = partial(
            announce.review, experiment, work.now, announced.evidence_hash, about, already_there
        )
    evidence: tuple[str, ...] = ()
    if better and announced:
        evidence = (announced.evidence_hash,)
        if not contradicted:
            evidence += (content_hash(assessment.evidence),)
    asked = Asked(
        identifier,
        "promotion",
        experiment.plan_hash,
        evidence,
        experiment.allow_self_approval,
        experiment.approvers,
        assessment.weakened,
    )
    answer = work.sign_offs.answer(asked)
    if work.states[identifier] != "promotion_review":
        return answer.approvers
    if answer.declines:
        work.advance(experiment, "declined", sign_offs=answer.declines, signers=answer.signers)
    elif answer.approved and not contradicted:
        work.advance(experiment, "approved", sign_offs=answer.approvals, signers=answer.signers)
    return answer.approvers


def _write_verdict(
    work: UnitOfWork,
    experiment: RegisteredExperiment,
    assessment: Assessment,
    announced: Announced | None,
    contradicted: bool,
    waits: str | None,
    facts: Facts,
    closed_until: datetime | None,
    already_there: float | None,
    approvals: int,
) -> None:
    identifier = experiment.experiment_id
    state = work.states[identifier]
    point = assessment.sample.of(experiment.primary.name)
    decided = announced is not None and assessment.verdict is not None
    reason = (waits or state) if state in NOT_DECIDING else assessment.reason
    sentence = NOT_DECIDING.get(reason, assessment.sentence)
    if contradicted and announced is not None:
        reason = "verdict_withdrawn" if assessment.verdict is None else "verdict_contradicted"
        reports, amended = records.changed_since_announced(work.connection, identifier)
        changed = contradiction_sentence(
            announced.verdict, assessment.verdict, reports=reports, amended=amended
        )
        sentence = f"{changed} {sentence}"
    weakened = decided and assessment.weakened and not contradicted
    if weakened:
        sentence = f"{sentence} {weakened_sentence(experiment, assessment.present)}"
    previous = work.verdicts.get(identifier)
    news: list[notices.NoticeTopic] = []
    if weakened and not (previous and previous["weakened"]):
        news.append("verdict_weakened")
    if contradicted != bool(previous and previous["contradicted"]):
        audit.append(
            work.connection,
            work.now,
            identifier,
            "verdict_contradicted" if contradicted else "verdict_follows_again",
            detail={"announced": announced and announced.verdict, "now": assessment.verdict},
        )
        if contradicted:
            news.append("verdict_contradicted")
    for topic in news:
        notice = Notice(topic, identifier, "WARN", f"{identifier}: {sentence}", isoformat(work.now))
        notices.write(work.connection, notice, work.now)
    judgement = judge(
        experiment,
        assessment,
        state=state,
        reason=reason,
        decided=decided,
        closed_until=closed_until,
        sample_ratio=facts.sample_ratio,
        split_approved=facts.split_approved or state == "sampling",
        failing=facts.failing,
        approvals=approvals,
        path=facts.path,
    )
    row = {
        "experiment_id": identifier,
        "state": state,
        "verdict": assessment.verdict if decided else None,
        "reason": reason,
        "decided_as_of": assessment.decided_as_of if decided else None,
        "n_pairs": 0 if point is None else point.n_pairs,
        "effective_clusters": 0.0 if point is None else point.effective_clusters,
        "evidence_hash": content_hash(assessment.evidence) if decided else None,
        "plan_hash": experiment.plan_hash,
        "sentence": sentence,
        "missing": json.dumps([item._asdict() for item in assessment.missing], ensure_ascii=False),
        "evidence": json.dumps(assessment.evidence, ensure_ascii=False) if decided else None,
        "announced_verdict": announced and announced.verdict,
        "announced_as_of": announced and naive_utc(datetime.fromisoformat(announced.decided_as_of)),
        "contradicted": contradicted,
        "announced_evidence_hash": announced and announced.evidence_hash,
        "standing": dumps(judgement),
        "registered_in_hindsight": experiment.registered_in_hindsight,
        "already_there": already_there,
        "weakened": weakened,
    }
    if row == previous:
        return
    work.connection.execute("DELETE FROM verdicts WHERE experiment_id = ?", [identifier])
    insert_row(work.connection, "verdicts", row)
