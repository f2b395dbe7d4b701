"""The one judge: the checklist behind a verdict, how each metric stands, and what a person does next.

It is written beside the verdict, from the very sample that the verdict was looked for in: the one that decided,
or the newest closed block. Pages, `et show`, `et status` and the index draw it and judge nothing themselves, so they
cannot say anything else than the verdict does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from et_pipeline.common import text
from et_pipeline.contracts.plan import LARGE_SPLIT_PCT
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.governance.explain import fidelity_sentence, next_look_sentence
from et_pipeline.governance.next_steps import CONTRADICTED, MEND, OF_REPLAY, WEAKENED, command, next_step
from et_pipeline.governance.records import SampleRatio
from et_pipeline.governance.terms import (
    MAX_MISSING_REPLAYS,
    Point,
    Sample,
    alarms,
    below_minimum,
    concludes,
    equal,
    fidelity_of,
    healthy,
    holds,
    judged,
    replays_missing,
    values_missing,
    within_without_spread,
)
from et_pipeline.governance.verdict import Assessment
from et_pipeline.governance.worth import Money, Unbiased, money, unbiased
from et_pipeline.inference.fidelity import MIN_COVERAGE
from et_pipeline.inference.horizon import MIN_BLOCKS
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS

FIGURES = (
    "n_pairs", "effective_clusters", "n_markets", "n_blocks", "mean_uplift", "se", "ci_lower", "ci_upper",
    "alarm_ci_lower", "alarm_ci_upper", "e_value", "p_value", "autocorrelation", "fixed_ci_lower", "fixed_ci_upper",
    "method", "look", "looks", "next_look_at", "carried",
    "n_control", "n_variant",
)  # fmt: skip
"""What is kept of a metric's interval, under the names of `interval_path`."""
WORDS = {"good": "met", "bad": "failed", "open": "not yet", "calm": "does not apply"}
ROLES = ("primary", "guardrail", "secondary")


class Condition(NamedTuple):
    """One line of the checklist.

    Attributes:
        label: What is asked.
        found: What was found.
        needed: What is needed.
        tone: How it stands: `good`, `bad`, `open` (not known yet) or `calm` (nothing to judge).
        source: Where the figure is in the database.
    """

    label: str
    found: str
    needed: str
    tone: str
    source: str

    @property
    def word(self) -> str:
        """How it stands, as a word."""
        return WORDS[self.tone]


class Standing(NamedTuple):
    """One metric at the decision, or at the newest closed block.

    Attributes:
        name: The metric.
        role: Its part in the decision.
        unit: Its unit.
        point: Its interval: `as_of` and `FIGURES`, each None where it is unknown or unbounded.
        missing_share: Share of the pairs up to then that have no value of it.
        limit: What a guardrail must stay above, None elsewhere.
        equal: The primary's margin of equivalence, None where there is none.
        tone: How it stands, see `Condition`.
        says: The same in words.
    """

    name: str
    role: str
    unit: str
    point: dict[str, Any]
    missing_share: float
    limit: float | None
    equal: float | None
    tone: str
    says: str


class Replay(NamedTuple):
    """What is known of the backtester at the same moment (shadow only).

    Attributes:
        state: `faithful`, `unfaithful`, `not_yet` or `unknown`, see `inference.fidelity`.
        coverage: Share of the pairs of which the control was replayed too.
        margin: How large the primary's gap may be, None where the plan names none.
        required: Whether the plan asks for a replay that is neither unknown nor unfaithful.
        sentence: The same for people.
        todo: What a person does about it.
        gap: The primary's interval of the replayed control against the live one; as a `Standing`'s point.
        like: The primary's interval of the variant's replay against the replayed control.
    """

    state: str
    coverage: float
    margin: float | None
    required: bool
    sentence: str
    todo: str
    gap: dict[str, Any]
    like: dict[str, Any]


class Reading(NamedTuple):
    """The primary's interval in the comparison that counts: like for like where enough of the control is replayed.

    Attributes:
        as_of: The moment that it speaks of (UTC).
        comparison: `uplift` or `like_for_like`.
        mean_uplift: Mean uplift.
        ci_lower: Lower end of its interval.
        ci_upper: Upper end of it.
    """

    as_of: datetime
    comparison: str
    mean_uplift: float
    ci_lower: float
    ci_upper: float


class Judgement(NamedTuple):
    """What is stored beside a verdict (`verdicts.standing`).

    Attributes:
        as_of: The moment that the figures speak of (UTC): the decision, or the end of the newest closed block;
            None before the first.
        closed_until: End of the newest closed block (UTC); what comes after it may still change.
        standings: Each metric, the primary first.
        conditions: The checklist.
        next_step: What a person does now.
        command: The command for it, None where nobody has to sign.
        present: Each metric at the newest closed block, where the decision came before it; else empty.
        weakened: Whether the verdict would not be drawn from `present`.
        review: How the review of a better variant stands, in a few words; empty where there is none.
        replay: What is known of the backtester; None in limited live.
        money: The uplift in money; None where the plan has no metric of it, or no report carries it.
        unbiased: The primary's estimate at a verdict, less what stopping adds to the mean; None without one.
        promised: What a better variant promises, by the figures of the decision; None where there is none.
        observed: What is seen at the newest closed block, of an experiment that follows another; else None.
    """

    as_of: datetime | None
    closed_until: datetime | None
    standings: list[Standing]
    conditions: list[Condition]
    next_step: str
    command: str | None
    present: list[Standing]
    weakened: bool
    review: str
    replay: Replay | None = None
    money: Money | None = None
    unbiased: Unbiased | None = None
    promised: Reading | None = None
    observed: Reading | None = None

    @property
    def primary(self) -> Standing | None:
        """The primary metric's standing."""
        return next((standing for standing in self.standings if standing.role == "primary"), None)

    @property
    def worth(self) -> list[str]:
        """What the uplift is worth, in sentences: in money, and less what stopping adds to it."""
        return [part.sentence for part in (self.money, self.unbiased) if part is not None]

    @property
    def methods(self) -> list[str]:
        """How the intervals are computed, each way once."""
        named = (standing.point.get("method") for standing in self.standings)
        return list(dict.fromkeys(method for method in named if method))

    @property
    def next_look(self) -> str:
        """When the plan's next look is, in a sentence; empty where there is none any more, or every row is one."""
        point = {} if self.primary is None else self.primary.point
        return next_look_sentence(point.get("looks"), point.get("next_look_at"))


NOT_LOOKED_AT = Judgement(None, None, [], [], next_step(None, None, ()), None, [], False, "")
"""What stands for the judgement of an experiment that no tick has looked at yet."""


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
    """The checklist and each metric's standing, in words.

    Args:
        experiment: The experiment.
        assessment: What follows from its paths.
        state: Its state.
        reason: Why it stands as it does (`verdicts.reason`).
        decided: Whether the assessment's verdict stands in `verdicts`.
        closed_until: End of the newest closed block.
        sample_ratio: The newest shares of the arms, None where they are not compared.
        split_approved: Whether a human approved a large split.
        failing: Checks that fail for this experiment, see the query `failing`.
        approvals: How many people approved the promotion.
        path: The interval paths that the assessment follows from.
    """
    sample = assessment.sample
    metrics = sorted(experiment.metrics, key=lambda terms: (ROLES.index(terms.role), terms.name))
    standings = [_standing(experiment, sample, terms) for terms in metrics]
    conditions = _sample_conditions(experiment, sample, sample_ratio, state, split_approved)
    conditions += [
        _metric_condition(experiment, standing) for standing in standings if standing.role != "secondary"
    ]
    replay = _replay(experiment, sample)
    conditions += _replay_conditions(experiment, sample)
    missing = {item.condition for item in assessment.missing} | set(failing)
    step = next_step(
        state, assessment.verdict if decided else None, missing, reason, follows=bool(experiment.follows)
    )
    review = ""
    if state in REVIEWED:
        conditions.append(_approvals(experiment, state, approvals))
        review = f"{REVIEWED[state]}: {_count(experiment, approvals)}"
    if state == "promotion_review" and reason not in CONTRADICTED:
        step = f"{step} So far: {_count(experiment, approvals)}."
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
        replay,
        money(experiment, sample),
        unbiased(experiment, assessment.verdict if decided else None, sample, path),
        _reading(experiment, sample) if decided and assessment.verdict == "variant_better" else None,
        _reading(experiment, present) if experiment.follows else None,
    )


def _reading(experiment: RegisteredExperiment, sample: Sample) -> Reading | None:
    """The primary's interval in the comparison that counts, None where nothing may be concluded from it."""
    alike, name = judged(experiment, sample), experiment.primary.name
    if replays_missing(experiment, sample) or not healthy(experiment, alike, name):
        return None
    point = alike.points[name]
    mean, lower, upper = (_finite(value) for value in (point.mean_uplift, point.ci_lower, point.ci_upper))
    if mean is None or lower is None or upper is None:
        return None
    return Reading(point.as_of, point.comparison, mean, lower, upper)


REVIEWED = {
    "promotion_review": "Asks for a review",
    "signed_off": "Approved by humans",
    "declined": "Declined by a human",
}
"""States of a better variant that humans were asked about, in words."""


def _count(experiment: RegisteredExperiment, approvals: int) -> str:
    return f"{approvals} of {experiment.approvers} approval{'s' if experiment.approvers > 1 else ''}"


def _approvals(experiment: RegisteredExperiment, state: str, approvals: int) -> Condition:
    people = "reviewer" if experiment.approvers == 1 else "different reviewers"
    return Condition(
        "Approved by humans",
        _count(experiment, approvals) + ("; declined" if state == "declined" else ""),
        f"{experiment.approvers} {people}",
        {"signed_off": "good", "declined": "bad"}.get(state, "open"),
        "sign_offs.valid, decision; experiments.plan",
    )


def halted(judgement: Judgement, *, failing: bool) -> Judgement:
    """The judgement; where a stage raised an error since it was stored, with the step that comes before any other.

    Args:
        judgement: The stored one.
        failing: Whether a stage raised an error for the experiment (`failures`).
    """
    return judgement._replace(next_step=MEND, command=None) if failing else judgement


def dumps(judgement: Judgement) -> str:
    """The judgement as text, for the table `verdicts`."""
    document = judgement._asdict() | {
        "standings": [standing._asdict() for standing in judgement.standings],
        "present": [standing._asdict() for standing in judgement.present],
        "conditions": [condition._asdict() for condition in judgement.conditions],
        **{
            name: part and part._asdict()
            for name in ("replay", "promised", "observed")
            for part in [getattr(judgement, name)]
        },
    }
    for name in ("money", "unbiased"):
        part = document.pop(name)
        if part is not None:
            document[name] = part._asdict()
    return json.dumps(document, ensure_ascii=False, allow_nan=False, default=datetime.isoformat)


def loads(stored: str | None) -> Judgement:
    """A stored judgement; `NOT_LOOKED_AT` where there is none yet."""
    if stored is None:
        return NOT_LOOKED_AT
    document = {"present": [], "weakened": False, "review": ""} | json.loads(stored)  # older rows lack these
    standings, present = (
        [Standing(**standing) for standing in document[part]] for part in ("standings", "present")
    )
    for standing in (*standings, *present):
        standing.point.update(
            {name: standing.point.get(name) for name in FIGURES}  # one that was stored before has fewer
            | {name: _moment(standing.point.get(name)) for name in ("as_of", "next_look_at")}
        )
    return Judgement(
        **document
        | {
            "as_of": _moment(document["as_of"]),
            "closed_until": _moment(document["closed_until"]),
            "standings": standings,
            "present": present,
            "conditions": [Condition(**condition) for condition in document["conditions"]],
            "replay": Replay(**replay) if (replay := document.get("replay")) else None,
            "money": Money(**worth) if (worth := document.get("money")) else None,
            "unbiased": Unbiased(**worth) if (worth := document.get("unbiased")) else None,
            **{name: _loaded(document.get(name)) for name in ("promised", "observed")},
        }
    )


def _loaded(reading: dict[str, Any] | None) -> Reading | None:
    return None if reading is None else Reading(**reading | {"as_of": _moment(reading["as_of"])})


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


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
    return {"as_of": point.as_of} | {name: _figure(getattr(point, name)) for name in FIGURES}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _figure(value: Any) -> Any:
    return _finite(value) if isinstance(value, float) else value


def _judged(experiment: RegisteredExperiment, sample: Sample, terms: MetricTerms) -> tuple[str, str]:
    """Tone and words of a metric, by the very conditions that a verdict is made of."""
    point, guard = sample.of(terms.name), terms.role == "guardrail"
    if values_missing(experiment, sample, terms.name):
        return ("calm" if terms.role == "secondary" else "bad"), "too many values missing"
    if terms.role == "secondary":
        return "calm", "for information"
    if alarms(experiment, sample, terms):
        return "bad", "beyond its margin" if guard else "below zero"
    if holds(experiment, sample, terms):
        return "good", "within its margin" if guard else "above zero"
    if not guard and equal(experiment, sample):
        return "calm", "within what counts as equal"
    if point is None or not point.ready or _finite(point.ci_lower) is None or _finite(point.ci_upper) is None:
        return "open", "too early to say"
    if below_minimum(experiment, point):
        return "open", "too early to say"
    return "open", "may still exceed its margin" if guard else "may still be zero"


def _metric_condition(experiment: RegisteredExperiment, standing: Standing) -> Condition:
    point, alpha = standing.point, experiment.alpha
    lower, upper, source = point["ci_lower"], point["ci_upper"], "ci_lower, ci_upper; experiments.alpha"
    if standing.says in ("beyond its margin", "below zero"):
        alpha = experiment.alarm_alpha
        lower, upper = point["alarm_ci_lower"], point["alarm_ci_upper"]
        source = "alarm_ci_lower, alarm_ci_upper; experiments.alarm_alpha"
    margin = "equivalence_margin" if standing.limit is None else "non_inferiority_margin"
    needed = "above 0" if standing.limit is None else f"above {text.number(standing.limit)} {standing.unit}"
    if standing.equal is not None:
        needed += f", or within ±{text.number(standing.equal)} {standing.unit}"
    return Condition(
        f"{standing.name} ({standing.role})",
        f"{text.interval(lower, upper, standing.unit)} ({text.percent(1 - alpha)})",
        needed,
        "good" if standing.says == "within what counts as equal" else standing.tone,
        f"interval_path.{source}; experiment_metrics.{margin}",
    )


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


def _replay_conditions(experiment: RegisteredExperiment, sample: Sample) -> list[Condition]:
    """What a verdict needs beside the uplift: the same like for like, and what the plan asks of the backtester."""
    fidelity = fidelity_of(experiment, sample)
    if fidelity is None:
        return []
    found = []
    if experiment.replay_required:
        tones = {"faithful": "good", "not_yet": "calm", "unknown": "open", "unfaithful": "bad"}
        margin = "" if fidelity.margin is None else f" (a gap within ±{text.number(fidelity.margin)})"
        found.append(
            Condition(
                "Replay is true",
                f"{fidelity.state.replace('_', ' ')}, {text.percent(fidelity.coverage)} of the pairs",
                f"not unfaithful{margin}, at least {text.percent(MIN_COVERAGE)} of the pairs",
                tones[fidelity.state],
                "replay_fidelity.state, coverage; experiments.replay_required",
            )
        )
    if fidelity.counts:
        like = sample.like_for_like
        for terms in (experiment.primary, *experiment.guardrails):
            condition = _metric_condition(experiment, _standing(experiment, like, terms))
            source = condition.source.replace("interval_path", "replay_path")
            found.append(
                condition._replace(label=f"{terms.name}, like for like ({terms.role})", source=source)
            )
        said = [(concludes(experiment, item) or "nothing").replace("_", " ") for item in (sample, like)]
        found.append(
            Condition(
                "Both comparisons agree",
                f"the uplift says {said[0]}, like for like {said[1]}",
                "the same of both",
                "good" if said[0] == said[1] else "bad",
                "interval_path, replay_path",
            )
        )
    return found


def _sample_conditions(
    experiment: RegisteredExperiment,
    sample: Sample,
    ratio: SampleRatio | None,
    state: str,
    split_approved: bool,
) -> list[Condition]:
    primary, least = experiment.primary, experiment.min_samples_for_decision
    point = sample.of(primary.name)
    n, clusters, memory = 0, 0.0, None
    if point is not None:
        n, clusters, memory = point.n_pairs, point.effective_clusters, _finite(point.autocorrelation)
    settled = memory is not None and memory <= MAX_AUTOCORRELATION
    found = [
        Condition(f"Enough {experiment.counted}", text.number(n) if n else "none yet", f"at least {text.number(least)}",
                  "good" if n >= least else "open",
                  "interval_path.n_pairs; experiments.min_samples_for_decision"),
        Condition("Enough independent groups", text.number(clusters, 3) if n else "none yet",
                  f"at least {MIN_CLUSTERS}",
                  "good" if clusters >= MIN_CLUSTERS else "open", "interval_path.effective_clusters"),
        Condition("Blocks long enough", "–" if memory is None else f"autocorrelation {text.number(memory, 2)}",
                  f"at most {MAX_AUTOCORRELATION:g}",
                  "good" if settled or within_without_spread(experiment, sample, primary) else "open",
                  "interval_path.autocorrelation"),
    ]  # fmt: skip
    if point is not None and point.look is not None and point.looks is not None:
        found.append(
            Condition(
                "Looks of the plan",
                f"{point.look} of {point.looks}",
                f"a fifth of them, and {MIN_BLOCKS} blocks with {experiment.unit}s",
                "good" if point.ready or within_without_spread(experiment, sample, primary) else "open",
                "interval_path.look, looks, next_look_at, n_blocks",
            )
        )
    for terms in (primary, *experiment.guardrails):
        if sample.missing(terms.name).pairs:
            found.append(
                Condition(
                    f"Values of {terms.name}",
                    f"{text.percent(sample.missing_share(terms.name))} of the {experiment.unit}s have none",
                    f"at most {text.percent(experiment.max_missing)}",
                    "bad" if values_missing(experiment, sample, terms.name) else "good",
                    "verdicts.standing; experiments.max_missing",
                )
            )
    replays = sample.replays
    if replays is not None and experiment.on_no_trade == "zero":
        share = replays.missing / replays.opportunities if replays.opportunities else 0.0
        found.append(
            Condition(
                "Opportunities replayed",
                f"{text.percent(share)} have no report of the variant",
                f"at most {text.percent(MAX_MISSING_REPLAYS)}",
                "bad" if replays_missing(experiment, sample) else "good",
                "replays.missing, opportunities",
            )
        )
    if ratio is not None:
        found.append(
            Condition(
                "Traffic split as planned",
                f"{text.percent(ratio.observed)} variant"
                + (f", but not within {ratio.within}" * bool(ratio.within)),
                f"{text.percent(ratio.planned)} planned",
                "bad" if ratio.alarm_since is not None else "good",
                "sample_ratio.observed_share, planned_share, e_value, sample_ratio_within.alarm",
            )
        )
    found.append(
        Condition(
            "Reports arrive",
            "paused" if state == "stalled" else "yes",
            "no outage",
            "open" if state == "stalled" else "good",
            "verdicts.state, outages",
        )
    )
    if experiment.needs_split_sign_off:
        found.append(
            Condition(
                "Split signed off",
                f"{text.number(experiment.traffic_split_pct)} % of traffic",
                f"a human's approval above {LARGE_SPLIT_PCT:g} %",
                "good" if split_approved else "open",
                "experiments.traffic_split_pct, sign_offs, audit_log",
            )
        )
    return found
