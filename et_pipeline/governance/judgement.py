"""What is stored beside a verdict: the checklist behind it, how each metric stands, and what a person does next.

`standing.py` computes it, and it is written in the transaction of the verdict. Pages, `et show`, `et status` and the
index read it with this module and judge nothing themselves, so they cannot contradict the verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from et_pipeline.governance.explain import next_look_sentence
from et_pipeline.governance.next_steps import MEND, group, next_step
from et_pipeline.governance.worth import Money, Unbiased

FIGURES = (
    "n_pairs", "effective_clusters", "n_markets", "n_blocks", "mean_uplift", "se", "ci_lower", "ci_upper",
    "alarm_ci_lower", "alarm_ci_upper", "e_value", "p_value", "autocorrelation", "fixed_ci_lower", "fixed_ci_upper",
    "method", "look", "looks", "next_look_at", "carried",
    "n_control", "n_variant",
)  # fmt: skip
"""The figures of a metric's interval that are stored, by their names in `interval_path`."""
WORDS = {"good": "met", "bad": "failed", "open": "not yet", "calm": "does not apply"}


class Condition(NamedTuple):
    """One line of the checklist.

    Attributes:
        label: Name of the condition.
        found: The present value, in words.
        needed: The required value, in words.
        tone: `good` (met), `bad` (failed), `open` (not known yet) or `calm` (does not apply).
        source: Tables and columns in which the figures are found.
    """

    label: str
    found: str
    needed: str
    tone: str
    source: str

    @property
    def word(self) -> str:
        """The tone in words, see `WORDS`."""
        return WORDS[self.tone]


class Standing(NamedTuple):
    """One metric at the decision, or at the newest closed block.

    Attributes:
        name: The metric.
        role: `primary`, `guardrail` or `secondary`.
        unit: Its unit.
        point: Its interval: `as_of` and `FIGURES`, each None where it is unknown or infinite.
        missing_share: Share of the pairs up to that moment without a value of this metric.
        limit: For a guardrail, minus its margin, above which the interval must stay; None for other roles.
        equal: The primary's margin of equivalence; None where there is none.
        tone: Whether its condition is met, see `Condition`.
        says: The tone in words for this metric.
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
        coverage: Share of the pairs whose control was replayed too.
        margin: How large the primary's gap may be; None where the plan names no limit.
        required: Whether the plan requires a replay that is neither unknown nor unfaithful.
        sentence: All of this in sentences for people.
        todo: What a person does about it.
        gap: The primary's interval of the replayed control minus the live one, in the form of a `Standing`'s point.
        like: The primary's interval of the variant's replay against the replayed control, in the same form.
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
        as_of: End of the block up to which pairs were used (UTC).
        comparison: `uplift` or `like_for_like`.
        mean_uplift: Mean uplift.
        ci_lower: Lower end of its interval.
        ci_upper: Upper end of its interval.
    """

    as_of: datetime
    comparison: str
    mean_uplift: float
    ci_lower: float
    ci_upper: float


class Judgement(NamedTuple):
    """What is stored beside a verdict (`verdicts.standing`).

    Attributes:
        as_of: The moment for which the figures hold (UTC): the decision, or the end of the newest closed block;
            None before the first closed block.
        closed_until: End of the newest closed block (UTC); figures after it may still change.
        standings: Each metric, the primary first.
        conditions: The checklist.
        next_step: What a person does now.
        command: The command for it; None where nobody has to sign.
        present: Each metric at the newest closed block, if the decision was made before it; else empty.
        weakened: Whether the figures in `present` would not give the verdict.
        review: The progress of the review of a better variant, in a few words; empty where there is no review.
        replay: What is known of the backtester; None in limited live.
        money: The uplift in money; None if the plan has no metric in money, or no report contains it.
        unbiased: The estimate at a verdict, corrected for stopping early; None without a verdict.
        promised: The uplift that a better variant promises, from the figures of the decision; None for other verdicts.
        observed: The uplift at the newest closed block of an experiment that follows another one; None for others.
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
        """The primary metric's standing at the moment `as_of`."""
        return _primary(self.standings)

    @property
    def now(self) -> Standing | None:
        """The primary metric's standing at the newest closed block; None if there was no decision before it."""
        return _primary(self.present)

    @property
    def worth(self) -> list[str]:
        """What the uplift is worth, in sentences: in money, and corrected for stopping early."""
        return [part.sentence for part in (self.money, self.unbiased) if part is not None]

    @property
    def methods(self) -> list[str]:
        """The methods by which the intervals are computed, each of them once."""
        named = (standing.point.get("method") for standing in self.standings)
        return list(dict.fromkeys(method for method in named if method))

    @property
    def next_look(self) -> str:
        """A sentence that says when the plan's next look is; empty after the last look, or for a plan without looks."""
        point = {} if self.primary is None else self.primary.point
        return next_look_sentence(point.get("looks"), point.get("next_look_at"))


def _primary(standings: list[Standing]) -> Standing | None:
    return next((standing for standing in standings if standing.role == "primary"), None)


NOT_LOOKED_AT = Judgement(None, None, [], [], next_step(None, None, ()), None, [], False, "")
"""The judgement of an experiment that no tick has evaluated yet."""


def halted(judgement: Judgement, *, failing: bool) -> Judgement:
    """The judgement; if a stage raised an error, its next step is that somebody corrects the error.

    Args:
        judgement: The stored judgement.
        failing: Whether a stage raised an error for the experiment (`failures`).
    """
    return judgement._replace(next_step=MEND, command=None) if failing else judgement


def stored_judgement(row: Mapping[str, Any]) -> tuple[Judgement, str]:
    """The judgement of an experiment and its group in `next_steps.GROUPS`, for `et status` and the index.

    Args:
        row: Its `state`, `verdict`, `reason`, `weakened` and `standing` from the table `verdicts` (each None before its
            first evaluation), and its `failures`, which is empty or None if no stage raised an error for it.
    """
    failing = bool(row["failures"])
    judgement = halted(loads(row["standing"]), failing=failing)
    return judgement, group(
        row["state"],
        row["verdict"],
        row["reason"],
        step=judgement.next_step,
        weakened=bool(row["weakened"]),
        failing=failing,
    )


def dumps(judgement: Judgement) -> str:
    """The judgement as JSON, for the table `verdicts`."""
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
            {name: standing.point.get(name) for name in FIGURES}  # rows of older versions have fewer figures
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
