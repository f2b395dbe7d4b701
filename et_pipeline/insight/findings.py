"""What a page says about one experiment: the stored judgement (`governance/judgement.py`), and the words of its badge.

This module is pure: rows in, words and tones out. Nothing is judged here. A tone is `good`, `bad`, `open` (not known
    yet) or `calm` (nothing to judge).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple

from et_pipeline.contracts.series import UPLIFT
from et_pipeline.governance.judgement import Condition, Replay, Standing, halted, loads
from et_pipeline.insight.read import ExperimentData, Row

VERDICTS = {
    "variant_better": ("Variant is better", "good"),
    "variant_worse": ("Variant is worse", "bad"),
    "equivalent": ("Equivalent", "calm"),
    "inconclusive": ("Inconclusive", "open"),
}
OF_FOLLOWER = {
    "variant_better": ("The replaced strategy is better", "bad"),
    "variant_worse": ("The promoted strategy is better", "good"),
}
"""The same for an experiment that follows another one; its variant is the strategy that was replaced."""
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
    "no_pairs": ("Ended without pairs", "open"),
    "concluded": ("Concluded", "calm"),
}


class Findings(NamedTuple):
    """What a page says about one experiment.

    Attributes:
        label: The words of the badge.
        tone: The tone of the badge.
        sentence: The verdict, or why there is none yet, in one sentence.
        next_step: What a person does now.
        command: The command for it; None where nobody has to sign.
        as_of: The moment for which the figures hold.
        closed_until: End of the newest closed block.
        standings: Each metric's standing.
        conditions: The checklist.
        missing: Sentences about the conditions that are not met.
        headline: The primary metric's standing.
        methods: The methods by which the intervals are computed, each of them once.
        now: The primary metric's standing at the newest closed block, if the decision was made before it.
        weakened: Whether the present figures would not give the verdict.
        review: The progress of the review of a better variant; empty where there is no review.
        replay: What is known of the backtester; None in limited live.
        worth: What the uplift is worth, in sentences: in money, and corrected for stopping early.
    """

    label: str
    tone: str
    sentence: str
    next_step: str
    command: str | None
    as_of: datetime | None
    closed_until: datetime | None
    standings: list[Standing]
    conditions: list[Condition]
    missing: list[str]
    headline: Standing | None
    methods: list[str]
    now: Standing | None
    weakened: bool
    review: str
    replay: Replay | None
    worth: list[str]


def badge(
    verdict: str | None, state: str | None, reason: str | None, follows: str | None = None
) -> tuple[str, str]:
    """Words and tone of the badge."""
    if reason in CONTRADICTED:
        return CONTRADICTED[reason]
    if verdict is not None:
        return (VERDICTS | OF_FOLLOWER if follows else VERDICTS)[verdict]
    if reason in STATES:  # more specific than the state
        return STATES[reason]
    return STATES.get(state or "registered", ("Not decided yet", "calm"))


def find(data: ExperimentData) -> Findings:
    """Makes the findings from the rows of one experiment."""
    verdict = data.verdict
    failing = any(
        row["stage"] != "page" for row in data.tables["failures"]
    )  # this page is being drawn again now
    judgement = halted(loads(verdict["standing"]), failing=failing)
    missing: list[Row] = json.loads(verdict["missing"] or "[]")
    label, tone = badge(verdict["verdict"], verdict["state"], verdict["reason"], data.experiment["follows"])
    return Findings(
        label=label,
        tone=tone,
        sentence=verdict["sentence"] or "No tick has looked at this experiment yet.",
        next_step=judgement.next_step,
        command=judgement.command,
        as_of=judgement.as_of,
        closed_until=judgement.closed_until,
        standings=judgement.standings,
        conditions=judgement.conditions,
        missing=[item["sentence"] for item in missing],
        headline=judgement.primary,
        methods=judgement.methods,
        now=judgement.now,
        weakened=judgement.weakened,
        review=judgement.review,
        replay=judgement.replay,
        worth=judgement.worth,
    )


def shown_path(
    data: ExperimentData, findings: Findings, metric: str, comparison: str = UPLIFT.name
) -> list[Row]:
    """A series' interval path up to the newest closed block, since later rows may still change."""
    until = findings.closed_until
    table = "interval_path" if comparison == UPLIFT.name else "replay_path"
    return [
        row
        for row in data.tables[table]
        if row["metric"] == metric
        and row.get("comparison", UPLIFT.name) == comparison
        and until is not None
        and row["as_of"] <= until
    ]
