"""Verdicts, and the reasons why there is none yet, in sentences for people who are not statisticians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from et_pipeline.common import text
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.evidence.looks import further_pairs
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.governance.terms import (
    MAX_MISSING_REPLAYS,
    Alarm,
    Fidelity,
    Missing,
    Point,
    Replays,
    Sample,
    Verdict,
    above,
    concludes,
    fidelity_of,
    holds,
    never_varies,
    replays_missing,
    untrusted,
    values_missing,
    within_without_spread,
)
from et_pipeline.inference.fidelity import MIN_COVERAGE
from et_pipeline.inference.horizon import MIN_BLOCKS
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS

NO_PAIRS = "no_pairs"
"""The condition that is not met by an experiment that ended without a single pair."""
BASIC = ("sample_ratio_alarm", "replays_missing", "values_missing")
"""Conditions that are named before a sample that is too small, since more pairs would not help with them."""
TELLING = ("replays_missing", "values_missing", "replay_disagrees", "replay_unknown", "replay_unfaithful")
"""Conditions that become the reason of the result if an experiment ends without a verdict because of them."""


def missing_conditions(
    experiment: RegisteredExperiment, sample: Sample, sample_ratio_alarm: datetime | None
) -> list[Missing]:
    """Every condition that is not met, the most basic first. The list is never empty."""
    found: list[Missing] = []
    if sample_ratio_alarm is not None:
        found.append(
            Missing(
                "sample_ratio_alarm",
                None,
                "The arms do not get the planned shares of opportunities"
                + ("" if experiment.paired else ", as a whole or within a market or an hour of the day")
                + ", so no comparison can be trusted.",
                None,
            )
        )
    if replays_missing(experiment, sample):
        found.append(_replays_missing(sample))
    for terms in (experiment.primary, *experiment.guardrails):
        if values_missing(experiment, sample, terms.name):
            found.append(_values_missing(experiment, sample, terms.name))
        problem = _too_small(experiment, terms, sample)
        if problem is not None:
            found.append(problem)
    if found:
        return sorted(found, key=lambda item: item.condition not in BASIC)
    primary, point = experiment.primary, sample.points[experiment.primary.name]
    if not above(point.ci_lower, 0.0):
        found.append(
            Missing(
                "primary_undecided",
                primary.name,
                f"The difference in {primary.name} is {_range(experiment, point)}, so it may still be zero.",
                _further(experiment, primary, point),
            )
        )
    for terms in experiment.guardrails:
        guard = sample.points[terms.name]
        if not holds(experiment, sample, terms):
            found.append(
                Missing(
                    "guardrail_undecided",
                    terms.name,
                    f"It is not shown yet that {terms.name} loses less than {terms.margin:g} {terms.metric.unit}: the "
                    f"difference is {_range(experiment, guard)}.",
                    _further(experiment, terms, guard),
                )
            )
    found = [
        item._replace(sentence=item.sentence + _expectation(experiment, item.further_pairs)) for item in found
    ]
    found = [*_disagreement(experiment, sample), *found]
    if not found:  # all conditions are met now, but were not at the newest look
        found.append(Missing("waits_for_look", None, "A verdict is given only at a look.", None))
    return found


def _disagreement(experiment: RegisteredExperiment, sample: Sample) -> list[Missing]:
    """The conditions on replays: both comparisons have to give the same verdict, and the plan may require a true
    replay."""
    fidelity, found = fidelity_of(experiment, sample), concludes(experiment, sample)
    primary = experiment.primary.name
    if fidelity is None:
        return []
    if fidelity.counts and concludes(experiment, sample.like_for_like) != found:
        uplift = "not known yet" if sample.of(primary) is None else _range(experiment, sample.points[primary])
        like = "not known yet" if fidelity.like is None else _range(experiment, fidelity.like)
        return [
            Missing(
                "replay_disagrees",
                primary,
                f"The two comparisons disagree. Against the live control the difference in {primary} is {uplift}. "
                f"Against the replayed control it is {like}. Only what both comparisons say is concluded.",
                None,
            )
        ]
    if found == "variant_better" and untrusted(experiment, fidelity):
        sentence = fidelity_sentence(experiment, fidelity)
        return [
            Missing(f"replay_{fidelity.state}", primary, f"The plan asks for a true replay. {sentence}", None)
        ]
    return []


def fidelity_sentence(experiment: RegisteredExperiment, fidelity: Fidelity) -> str:
    """Whether the replay on which a verdict is based is faithful, in sentences for people."""
    primary = experiment.primary
    if fidelity.state == "unknown":
        share = "none" if not fidelity.coverage else text.percent(fidelity.coverage)
        return (
            f"It is unknown whether the replay is true: the control was replayed for {share} of the pairs, and at "
            "least "
            f"{text.percent(MIN_COVERAGE)} are needed. So an error of the backtester counts as a difference."
        )
    gap = (
        "not known well enough for an interval" if fidelity.gap is None else _range(experiment, fidelity.gap)
    )
    where = f"the gap between the replayed and the live control in {primary.name} is {gap}"
    if fidelity.margin is None:
        allowed = ", and the plan names no margin for it"
    else:
        allowed = f", and ±{fidelity.margin:g} {primary.metric.unit} is allowed"
    covered = f" The control was replayed for {text.percent(fidelity.coverage)} of the pairs."
    if fidelity.state == "faithful":
        return f"The replay is faithful: {where}{allowed}.{covered}"
    if fidelity.state == "unfaithful":
        return (
            f"The replay is not true: {where}{allowed}. The comparison like for like counts instead: "
            f"{_like_for_like(experiment, fidelity)}.{covered}"
        )
    return f"It is not shown yet whether the replay is true: {where}{allowed}.{covered}"


def _like_for_like(experiment: RegisteredExperiment, fidelity: Fidelity) -> str:
    if fidelity.like is None:
        return "it has no value yet"
    return f"against the replayed control the difference is {_range(experiment, fidelity.like)}"


def about_sentence(experiment: RegisteredExperiment, sample: Sample) -> str:
    """What a reader of a verdict has to know about the replays on which it is based; empty in limited live."""
    fidelity = fidelity_of(experiment, sample)
    of_replay = "" if fidelity is None else f" {fidelity_sentence(experiment, fidelity)}"
    return replays_sentence(experiment, sample.replays) + of_replay


def no_pairs(experiment: RegisteredExperiment) -> Missing:
    """An experiment that ended without a single pair, or, where all trades are compared, without a trade."""
    nothing = "pair of reports of both arms" if experiment.paired else "trade of either arm"
    return Missing(
        NO_PAIRS,
        None,
        f"It ended on {experiment.ends_at:%Y-%m-%d %H:%M} UTC without a single {nothing}, so "
        "nothing is concluded. Reports that come later still count.",
        None,
    )


def _replays_missing(sample: Sample) -> Missing:
    found = sample.replays
    assert found is not None, "there is no such condition without a count"
    return Missing(
        "replays_missing",
        None,
        f"{found.missing:,} of the {found.opportunities:,} opportunities that the control traded "
        f"({text.percent(found.missing / found.opportunities)}) have no report of the variant: neither a replay "
        "nor a report that it passed. Nothing is concluded if more than "
        f"{text.percent(MAX_MISSING_REPLAYS)} have none.",
        None,
    )


def replays_sentence(experiment: RegisteredExperiment, replays: Replays | None) -> str:
    """A sentence that says which of the control's opportunities a verdict covers; empty if it covers all of them.

    Args:
        experiment: The experiment.
        replays: How many of these opportunities the variant reported up to the decision.
    """
    if replays is None:
        return ""
    if experiment.on_no_trade == "exclude":
        if replays.traded == replays.opportunities:
            return ""
        passed = f" On {replays.passed:,} the variant reported that it passed." if replays.passed else ""
        return (
            f" The control traded {replays.opportunities:,} opportunities; the figures are about the "
            f"{replays.traded:,} "
            f"that both arms traded.{passed} {replays.missing:,} have no report of the variant: either it passed on "
            "them, or they were not replayed."
        )
    assumed = (
        f" {replays.assumed:,} passes of the variant are assumed: it sent no report of these opportunities."
        if replays.assumed
        else ""
    )
    missing = (
        f" {replays.missing:,} of the {replays.opportunities:,} opportunities have no report of the variant yet "
        "and are not counted."
        if replays.missing
        else ""
    )
    return assumed + missing


def _values_missing(experiment: RegisteredExperiment, sample: Sample, metric: str) -> Missing:
    gaps, point = sample.missing(metric), sample.of(metric)
    total = gaps.pairs + (0 if point is None else point.n_pairs)
    lacking = (
        f"{gaps.pairs:,} of {total:,} pairs ({text.percent(gaps.pairs / total)}) have no value of {metric}: "
        f"{gaps.control:,} of the control's reports and {gaps.variant:,} of the variant's reports lack it. At most "
        f"{text.percent(experiment.max_missing)} of the pairs may have none"
    )
    if not experiment.paired:
        lacking = (
            f"{gaps.control:,} of the control's trades and {gaps.variant:,} of the variant's trades have no value of "
            f"{metric}; in one arm these are {text.percent(sample.missing_share(metric))} of its trades. At most "
            f"{text.percent(experiment.max_missing)} of an arm's trades may have none"
        )
    return Missing(
        "values_missing",
        metric,
        f"{lacking}, so nothing is concluded about {metric}.",
        None,
    )


def _too_small(experiment: RegisteredExperiment, terms: MetricTerms, sample: Sample) -> Missing | None:
    """The first minimum that one metric's sample does not reach; None if it reaches all of them."""
    name, point = terms.name, sample.of(terms.name)
    least = experiment.min_samples_for_decision
    if point is None or point.n_pairs < least:
        n = 0 if point is None else point.n_pairs
        sentence = f"{name} has {n:,} of the {least:,} {experiment.counted} required (completed blocks only)."
        return Missing("too_few_pairs", name, sentence, least - n)
    if not point.effective_clusters >= MIN_CLUSTERS:
        growth = MIN_CLUSTERS / max(1.0, point.effective_clusters)
        further = max(1, math.ceil(point.n_pairs * (growth - 1)))
        return Missing(
            "too_few_clusters",
            name,
            f"The effective sample size of {name} is {point.effective_clusters:.1f}, and a decision needs at least "
            f"{MIN_CLUSTERS}.{_expectation(experiment, further)}",
            further,
        )
    if above(point.autocorrelation, MAX_AUTOCORRELATION):
        return Missing(
            "longer_time_block_needed",
            name,
            f"Neighbouring blocks of {name} move together too much: a longer time_block is needed.",
            None,
        )
    if never_varies(point) and not point.ready:
        if within_without_spread(experiment, sample, terms):
            return None
        every = f"{text.signed(point.mean_uplift, 2)} {metric_of(name).unit}"
        return Missing(
            "no_spread",
            name,
            f"{name} differs by the same {every} in every {experiment.unit}. Without any spread there is no interval, "
            "and the plan's margin does not allow this difference.",
            None,
        )
    if not point.ready and point.looks is not None:
        return _before_a_look(experiment, point)
    if not point.ready:
        return Missing("no_spread", name, f"The values of {name} do not vary enough for an interval.", None)
    return None


def _before_a_look(experiment: RegisteredExperiment, point: Point) -> Missing:
    """Why a sample that is large enough has no interval yet, in a plan that has intervals only at its looks."""
    if point.n_blocks < MIN_BLOCKS:
        return Missing(
            "too_few_blocks",
            point.metric,
            f"{point.metric} has {experiment.unit}s in {point.n_blocks} of the {MIN_BLOCKS} time blocks required. "
            "Fewer "
            "blocks do not show how much neighbouring blocks move together.",
            None,
        )
    return Missing(
        "waits_for_look", point.metric, f"{point.metric} gets its next interval at the next look.", None
    )


def next_look_sentence(looks: int | None, at: datetime | None) -> str:
    """A sentence that says when a plan's next look is; empty after the last look, or for a plan without looks.

    Args:
        looks: Number of the plan's looks; None for a plan without looks.
        at: End of the block with the next look (UTC).
    """
    return (
        ""
        if looks is None or at is None
        else f"The next of the plan's {looks} looks is at {at:%Y-%m-%d %H:%M} UTC."
    )


def _range(experiment: RegisteredExperiment, point: Point) -> str:
    unit = metric_of(point.metric).unit
    if never_varies(point) and not point.ready:
        return f"the same {text.signed(point.mean_uplift, 2)} {unit} in every {experiment.unit}"
    if point.ci_lower is None or point.ci_upper is None:
        return "not known well enough for an interval"
    return text.between(point.ci_lower, point.ci_upper, unit)


def _expectation(experiment: RegisteredExperiment, further: int | None) -> str:
    return (
        "" if further is None else f" About {further:,} more {experiment.counted} are expected to be needed."
    )


def _further(experiment: RegisteredExperiment, terms: MetricTerms, point: Point) -> int | None:
    """Further pairs until a decision at the present mean and variance; None if no decision is to be expected."""
    return None if never_varies(point) else further_pairs(experiment, terms, point._asdict())


def verdict_sentence(
    experiment: RegisteredExperiment,
    verdict: Verdict,
    points: dict[str, Point],
    missing: Sequence[Missing],
    alarms: Sequence[Alarm],
) -> str:
    """The verdict in sentences for people who are not statisticians.

    Args:
        experiment: The experiment.
        verdict: The verdict.
        points: Each metric's interval at the decision.
        missing: The conditions that were not met, for `inconclusive`.
        alarms: The alarms at the decision, for `variant_worse`.
    """
    name = experiment.primary.name
    if verdict == "inconclusive":
        why = " ".join(item.sentence for item in missing)
        return (
            "The experiment ended without a clear answer. This does not show that there is no difference. "
            f"{why}"
        )
    if verdict == "variant_worse":
        return _worse(experiment, alarms[0].point)
    point = points[name]
    difference = f"the difference in {name} is {_range(experiment, point)}"
    if point.ready:
        difference += f" per {experiment.unit} ({_confidence(experiment.alpha, point)})"
    if verdict == "variant_better":
        guards = " No guardrail lost more than its margin." if experiment.guardrails else ""
        return f"The variant is better: {difference}, {_sample(point)}.{guards}"
    margin = f"{experiment.primary.equivalence_margin:g} {experiment.primary.metric.unit}"
    sample = _sample(point)
    return f"The two arms are equivalent: {difference}, {sample}. The plan counts ±{margin} as equal."


def contradiction_sentence(
    announced: str | None, now: str | None, *, reports: bool, amended: Sequence[str]
) -> str:
    """Which verdict was announced, what changed it, and what follows now.

    Args:
        announced: The announced verdict.
        now: The verdict that follows now, None where none does.
        reports: Whether reports of its arms came after it was announced.
        amended: Keys of its plan that were amended since then.
    """
    amendment = f"an amendment of the plan ({', '.join(amended)})" if amended else ""
    causes = " and ".join(filter(None, ("later reports" if reports else "", amendment)))
    if not causes:
        result = f"the result is now '{now}'" if now else "no verdict follows now"
        return (
            f"We announced '{announced}'. No report came since then and the plan is the same, but the program computes "
            f"the evidence in another way: {result}."
        )
    result = f"the result to '{now}'" if now else "the result: no verdict follows now"
    return f"We announced '{announced}'. {causes[0].upper()}{causes[1:]} changed {result}."


def weakened_sentence(experiment: RegisteredExperiment, present: Sample) -> str:
    """What a reviewer has to know if the present interval no longer supports the verdict."""
    name = experiment.primary.name
    point = present.points[name]
    return (
        f"The present interval no longer supports the verdict: up to {point.as_of:%Y-%m-%d %H:%M} UTC the difference "
        "in "
        f"{name} is {_range(experiment, point)} per {experiment.unit}, {_sample(point)}."
    )


def hindsight_sentence(registered_at: datetime, starts_at: datetime, already_there: float | None) -> str:
    """What a reviewer has to know about a window that began before its registration."""
    there = "None of its sample existed by then."
    if already_there:
        there = (
            f"{text.percent(already_there)} of its sample existed by then, so the window may have been chosen by "
            "looking "
            "at its data."
        )
    return (
        f"The plan was registered on {registered_at:%Y-%m-%d %H:%M} UTC, after its window had begun "
        f"({starts_at:%Y-%m-%d %H:%M} UTC). {there}"
    )


def _worse(experiment: RegisteredExperiment, point: Point) -> str:
    terms = next(terms for terms in experiment.metrics if terms.name == point.metric)
    unit = metric_of(point.metric).unit
    limit = f" by more than the {terms.margin:g} {unit} that the plan allows" if terms.margin else ""
    return (
        f"The variant is worse: its {point.metric} is worse than the control's{limit}. The difference is "
        f"{text.between(point.alarm_ci_lower, point.alarm_ci_upper, unit)} per {experiment.unit} "
        f"({_confidence(experiment.alarm_alpha, point)}), {_sample(point)}."
    )


def _sample(point: Point) -> str:
    return f"from {point.sample} (effective sample size {point.effective_clusters:.0f})"


def _confidence(alpha: float, point: Point) -> str:
    valid = "however often you check" if point.looks is None else f"at all {point.looks} looks of the plan"
    return f"{100 * (1 - alpha):.4g} % confidence; valid {valid}"
