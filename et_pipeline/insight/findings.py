"""What the figures of one experiment say: the checklist behind its verdict, each metric's standing, the next step.

Pure: rows in, words and tones out. A tone is `good`, `bad`, `open` (not known yet) or `calm` (nothing to judge).
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import NamedTuple

from et_pipeline.common import text
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.inference.twoway import MIN_CLUSTERS
from et_pipeline.insight.next_steps import command, next_step
from et_pipeline.insight.read import ExperimentData, Row

VERDICTS = {
    "variant_better": ("Variant is better", "good"),
    "variant_worse": ("Variant is worse", "bad"),
    "equivalent": ("Equivalent", "calm"),
    "inconclusive": ("Inconclusive", "open"),
}
CONTRADICTED = {
    "verdict_withdrawn": ("Verdict withdrawn", "bad"),
    "verdict_contradicted": ("Verdict contradicted", "bad"),
}
STATES = {
    "registered": ("Not started", "calm"),
    "awaiting_sign_off": ("Waits for a sign-off", "open"),
    "sampling": ("Not decided yet", "calm"),
    "split_declined": ("Split declined", "open"),
    "stalled": ("Paused: no reports", "open"),
    "concluded": ("Concluded", "calm"),
}
NO_POINT: Row = dict.fromkeys(
    ("as_of", "n_pairs", "effective_clusters", "n_markets", "n_blocks", "mean_uplift", "ci_lower", "ci_upper",
     "alarm_ci_lower", "alarm_ci_upper", "e_value", "p_value", "fixed_ci_lower", "fixed_ci_upper", "autocorrelation")
)  # fmt: skip
"""What stands for the interval of a metric that has none yet."""
WORDS = {"good": "met", "bad": "failed", "open": "not yet", "calm": "does not apply"}


class Condition(NamedTuple):
    """One line of the checklist.

    Attributes:
        label: What is asked.
        found: What was found.
        needed: What is needed.
        tone: How it stands.
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
    """One metric at the moment of decision, or now.

    Attributes:
        name: The metric.
        role: Its part in the decision.
        unit: Its unit.
        meaning: What it measures.
        point: Its interval, a row of `interval_path`; `NO_POINT` where there is none.
        limit: What a guardrail must stay above, None elsewhere.
        equal: The primary's margin of equivalence, None where there is none.
        tone: How it stands.
        says: The same in words.
    """

    name: str
    role: str
    unit: str
    meaning: str
    point: Row
    limit: float | None
    equal: float | None
    tone: str
    says: str


class Findings(NamedTuple):
    """What a page says.

    Attributes:
        label: The badge.
        tone: Its tone.
        sentence: Verdict, or why there is none yet, in one sentence.
        next_step: What a person does now.
        command: The command for it, None where nobody has to sign.
        as_of: The moment that the figures speak of.
        standings: Each metric.
        conditions: The checklist.
        missing: What is still missing, sentences.
        headline: The primary metric's standing.
    """

    label: str
    tone: str
    sentence: str
    next_step: str
    command: str | None
    as_of: datetime | None
    standings: list[Standing]
    conditions: list[Condition]
    missing: list[str]
    headline: Standing | None


def badge(verdict: str | None, state: str | None, reason: str | None) -> tuple[str, str]:
    """Words and tone of the badge."""
    if reason in CONTRADICTED:
        return CONTRADICTED[reason]
    if verdict is not None:
        return VERDICTS[verdict]
    if reason in STATES:  # it says more than the state does
        return STATES[reason]
    return STATES.get(state or "registered", ("Not decided yet", "calm"))


def find(data: ExperimentData) -> Findings:
    """What the rows of one experiment say."""
    verdict = data.verdict
    kind, state = verdict["verdict"], verdict["state"]
    decided = verdict["decided_as_of"] if kind else None
    points = _points(data, decided)
    standings = [
        _standing(metric, points.get(metric["metric"], NO_POINT))
        for metric in data.tables["experiment_metrics"]
    ]
    primary = next((standing for standing in standings if standing.role == "primary"), None)
    missing: list[Row] = json.loads(verdict["missing"] or "[]")
    label, tone = badge(kind, state, verdict["reason"])
    return Findings(
        label=label,
        tone=tone,
        sentence=verdict["sentence"] or "No reports have been looked at yet.",
        next_step=next_step(state, kind, {item["condition"] for item in missing}, verdict["reason"]),
        command=command(data.experiment["experiment_id"], state, verdict["reason"]),
        as_of=max((point["as_of"] for point in points.values()), default=None),
        standings=standings,
        conditions=_conditions(data, standings, state),
        missing=[item["sentence"] for item in missing],
        headline=primary,
    )


def _points(data: ExperimentData, decided: datetime | None) -> dict[str, Row]:
    """Each metric's interval at the decision, or the newest one."""
    if decided is None:
        return {row["metric"]: row for row in data.tables["intervals"]}
    return {row["metric"]: row for row in data.tables["interval_path"] if row["as_of"] <= decided}


def _standing(metric: Row, point: Row) -> Standing:
    known = CATALOGUE[metric["metric"]]
    margin = metric["non_inferiority_margin"]
    limit = None if margin is None else -margin
    tone, says = _judged(metric, point, limit)
    return Standing(
        metric["metric"],
        metric["role"],
        known.unit,
        known.meaning,
        point,
        limit,
        metric["equivalence_margin"],
        tone,
        says,
    )


def _judged(metric: Row, point: Row, limit: float | None) -> tuple[str, str]:
    lower, upper = (finite(point[end]) for end in ("ci_lower", "ci_upper"))
    if metric["role"] == "secondary":
        return "calm", "for information"
    if lower is None and upper is None:
        return "open", "too early to say"
    bar = limit or 0.0
    alarm = finite(point["alarm_ci_upper"])
    if lower is not None and lower > bar:
        return "good", "above zero" if limit is None else "within its margin"
    if alarm is not None and alarm < bar:
        return "bad", "below zero" if limit is None else "beyond its margin"
    equal = metric["equivalence_margin"]
    if equal is not None and lower is not None and upper is not None and -equal < lower and upper < equal:
        return "calm", "within what counts as equal"
    return "open", "may still be zero" if limit is None else "may still exceed its margin"


def finite(value: float | None) -> float | None:
    """The figure, None where it is unknown or unbounded."""
    return value if value is not None and math.isfinite(value) else None


def _conditions(data: ExperimentData, standings: list[Standing], state: str | None) -> list[Condition]:
    found = _sample_conditions(data, standings)
    found.append(
        Condition(
            "Reports arrive",
            "paused" if state == "stalled" else "yes",
            "no outage",
            "open" if state == "stalled" else "good",
            "verdicts.state, outages",
        )
    )
    if data.experiment["traffic_split_pct"] > 50:
        approved = any(
            (row["from_state"], row["to_state"]) == ("awaiting_sign_off", "sampling")
            for row in data.tables["audit_log"]
        )
        found.append(
            Condition(
                "Split signed off",
                f"{text.number(data.experiment['traffic_split_pct'])} % of traffic",
                "a human's approval above 50 %",
                "good" if approved else "open",
                "experiments.traffic_split_pct, sign_offs, audit_log",
            )
        )
    for standing in standings:
        if standing.role == "secondary":
            continue
        point, alpha = standing.point, data.experiment["alpha"]
        lower, upper, source = point["ci_lower"], point["ci_upper"], "ci_lower, ci_upper; experiments.alpha"
        if standing.tone == "bad":
            alpha, source = (
                data.experiment["alarm_alpha"],
                "alarm_ci_lower, alarm_ci_upper; experiments.alarm_alpha",
            )
            lower, upper = point["alarm_ci_lower"], point["alarm_ci_upper"]
        margin = "equivalence_margin" if standing.limit is None else "non_inferiority_margin"
        needed = (
            "above 0" if standing.limit is None else f"above {text.number(standing.limit)} {standing.unit}"
        )
        if standing.equal is not None:
            needed += f", or within ±{text.number(standing.equal)} {standing.unit}"
        found.append(
            Condition(
                f"{standing.name} ({standing.role})",
                f"{text.interval(lower, upper, standing.unit)} ({text.percent(1 - alpha)})",
                needed,
                "good" if standing.says == "within what counts as equal" else standing.tone,
                f"interval_path.{source}; experiment_metrics.{margin}",
            )
        )
    return found


def _sample_conditions(data: ExperimentData, standings: list[Standing]) -> list[Condition]:
    point = next((standing.point for standing in standings if standing.role == "primary"), NO_POINT)
    minimum = data.experiment["min_samples_for_decision"]
    n, clusters = point["n_pairs"] or 0, point["effective_clusters"] or 0.0
    memory = finite(point["autocorrelation"])
    found = [
        Condition("Enough pairs", text.number(n) if n else "none yet", f"at least {text.number(minimum)}",
                  "good" if n >= minimum else "open",
                  "interval_path.n_pairs; experiments.min_samples_for_decision"),
        Condition("Enough independent groups", text.number(clusters, 3) if n else "none yet",
                  f"at least {MIN_CLUSTERS}",
                  "good" if clusters >= MIN_CLUSTERS else "open", "interval_path.effective_clusters"),
        Condition("Blocks long enough", "–" if memory is None else f"autocorrelation {text.number(memory, 2)}",
                  "at most 0.9", "open" if memory is None or memory > 0.9 else "good",
                  "interval_path.autocorrelation"),
    ]  # fmt: skip
    if data.tables["sample_ratio"]:
        last = data.tables["sample_ratio"][-1]
        found.append(
            Condition(
                "Traffic split as planned",
                f"{text.percent(last['observed_share'])} variant",
                f"{text.percent(last['planned_share'])} planned",
                "bad" if any(row["alarm"] for row in data.tables["sample_ratio"]) else "good",
                "sample_ratio.observed_share, planned_share, e_value",
            )
        )
    return found
