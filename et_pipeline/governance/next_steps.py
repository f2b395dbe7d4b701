"""What a person does next, in one sentence: for the review pages, `et status` and `et show`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from et_pipeline.contracts.plan import LARGE_SPLIT_PCT

OF_STATE = {
    "registered": "Nothing to do: sampling begins at the planned start.",
    "awaiting_sign_off": "A human must decide about the split before sampling begins.",
    "sampling": "Nothing to do: sampling continues until the evidence suffices or the experiment ends.",
    "stalled": "Repair the report bus. Then sampling resumes by itself, and nothing is lost.",
    "promotion_review": "Read the review page, then approve or decline with a signed decision.",
    "signed_off": "Humans approved this evidence. The promotion itself happens in another system.",
    "declined": "Nothing to do: a human declined the promotion, so the control continues to trade.",
}
OF_VERDICT = {
    "variant_better": "The plan asks for no review. Nothing is promoted automatically.",
    "variant_worse": "Stop the variant. The StrategyRegistry has received a drift signal.",
    "equivalent": "The plan counts the two arms as equal, so choose the one that costs less.",
    "inconclusive": "There is no evidence for either arm. A longer run needs a new experiment id.",
}
OF_FOLLOWER = {
    "variant_better": "Reconsider the promotion: the replaced strategy does better than the one that trades now.",
    "variant_worse": "Nothing to do: the promoted strategy does better than the one that it replaced.",
    "equivalent": "Nothing to do: the plan counts the promoted strategy and the one that it replaced as equal.",
}
"""The same for an experiment that follows another one; its variant is the strategy that was replaced."""
CONTRADICTED = ("verdict_withdrawn", "verdict_contradicted")
"""The reasons if an announced verdict no longer follows from the evidence: now no verdict follows, or another one."""
WRONG_SPLIT = (
    "Find out why the arms got other shares than planned. Then run the experiment again under a new id."
)
OF_CONTRADICTED = {
    "promotion_review": "Decline the promotion, or wait until the verdict follows again. Until then an approval does "
    "not count.",
    "signed_off": "Humans approved evidence that is no longer valid. Tell them, and reconsider the promotion.",
    "declined": "A human declined the promotion, so the control continues to trade.",
}
"""What a person does if an announced verdict no longer follows from the evidence, by state."""
NEW_ID = "Another answer needs a new experiment id."
FIND_OUT = (
    "The announced verdict no longer follows from the evidence: do not act on it, and find out what changed."
)
OF_REPLAY = {
    "faithful": "Nothing to do: the backtester replays the control's trades as they really were.",
    "unfaithful": "Repair the backtester. Until then, read the comparison like for like and not the uplift. The table "
    "replay_gaps shows the gap of each day.",
    "not_yet": "Nothing to do: more pairs will show whether the gap lies within the margin.",
    "unknown": "Let the backtester also replay the control's own trades, with their correlation_id and mode replay. "
    "Only then is the error of the backtester known.",
}
"""What a person does about the backtester, by the state of its fidelity."""
OF_CHECK = {
    "no_pairs": "Find out why there is nothing to compare. Did both arms report? Where pairs are compared, did they "
    "report on the same opportunities? Do strategy_id and config_version in the reports agree with the plan? Reports "
    "that come now still count.",
    "sample_ratio_alarm": "Find out why the arms get other shares than planned. Until then nothing is concluded.",
    "replays_missing": "Find out why opportunities are not replayed. Until then nothing is concluded.",
    "values_missing": "Find out why reports come without a value. The page says which metric, arm and blocks.",
    "replay_disagrees": "Read “Is the replay true?” on its page. The comparison with the live control and the "
    "comparison "
    "with the replayed control give different answers, so the difference may be an error of the backtester. Repair the "
    "backtester first.",
    "replay_unknown": OF_REPLAY["unknown"],
    "replay_unfaithful": OF_REPLAY["unfaithful"],
    "unmatched": "Find out why so many reports find no partner. The page counts them by arm and reason.",
    "longer_time_block_needed": "Plan a longer time_block under a new experiment id: neighbouring blocks move "
    "together.",
    "change_refused": "Restore the plan file, or give the changed plan a new experiment id. The change was refused and "
    "the old plan is in force.",
}
"""What a person does while sampling goes on, by the check that fails or the condition that is not met."""
WEAKENED = (
    "The present interval no longer supports the verdict. An approval has to say that its signer knows this."
)
MEND = (
    "Decide nothing before this works again: its figures are not up to date, because the program raised an error. The "
    "table failures has the error, for whoever runs the pipeline. The program tries again by itself."
)
"""What a person does if a stage raised an error for the experiment (table `failures`)."""
SPLIT_DECLINED = (
    f"Lower traffic_split_pct in the plan to {LARGE_SPLIT_PCT:g} or less, "
    "or write a plan with a new experiment id."
)
DECIDES = ("awaiting_sign_off", "promotion_review")
"""The states in which an experiment waits for a human's signature."""


def next_step(
    state: str | None,
    verdict: str | None,
    missing: Collection[str],
    reason: str | None = None,
    *,
    follows: bool = False,
) -> str:
    """The sentence that says what a person does next about an experiment.

    Args:
        state: State of the experiment; None before its first evaluation.
        verdict: Its verdict; None if there is none.
        missing: The conditions that are not met, and the checks that fail (the query `failing`).
        reason: The reason of its verdict or state (`verdicts.reason`).
        follows: Whether it follows another experiment to check its promise.
    """
    if reason == "split_declined":
        return SPLIT_DECLINED
    if reason in CONTRADICTED or (state == "concluded" and verdict is None):
        return f"{FIND_OUT} {OF_CONTRADICTED.get(state or 'concluded', NEW_ID)}"
    wrong = [sentence for condition, sentence in OF_CHECK.items() if condition in missing]
    if wrong and state in (None, "registered", "sampling"):
        return " ".join(wrong)
    if verdict is None or state in OF_STATE:
        return OF_STATE[state or "registered"]
    if verdict == "inconclusive" and "sample_ratio_alarm" in missing:
        return WRONG_SPLIT
    if verdict == "inconclusive" and reason in OF_CHECK:
        return f"{OF_CHECK[reason]} Another run needs a new experiment id."
    return (OF_VERDICT | OF_FOLLOWER if follows else OF_VERDICT)[verdict]


def word(state: str | None, verdict: str | None, reason: str | None) -> str:
    """The reason, verdict or state of an experiment, whichever says most, for tables in a terminal."""
    return reason if reason in (*CONTRADICTED, "no_pairs") else verdict or state or "registered"


def command(experiment_id: str, state: str | None, reason: str | None = None) -> str | None:
    """The command that carries out the next step; None if nobody has to sign, or an approval would not count."""
    signs = state in DECIDES and reason not in ("split_declined", *CONTRADICTED)
    return f"et sign-off {experiment_id} approve" if signs else None


class Group(NamedTuple):
    """A group of experiments about which a person has the same thing to do.

    Attributes:
        title: Its title on the page.
        needs_me: Whether somebody has to do something.
    """

    title: str
    needs_me: bool


GROUPS = {
    "broken": Group("Figures are not up to date", needs_me=True),
    "contradicted": Group("The verdict no longer follows", needs_me=True),
    "weakened": Group("The verdict has weakened", needs_me=True),
    "waiting": Group("Waits for a signature", needs_me=True),
    "hindered": Group("A problem needs a person", needs_me=True),
    "running": Group("Sampling", needs_me=False),
    "not_started": Group("Not started", needs_me=False),
    "decided": Group("Decided by humans", needs_me=False),
    "concluded": Group("Concluded", needs_me=False),
}
"""All groups by key, the most urgent first."""


def group(
    state: str | None, verdict: str | None, reason: str | None, *, step: str, weakened: bool, failing: bool
) -> str:
    """The key in `GROUPS` of the group to which an experiment belongs.

    Args:
        state: As for `next_step`.
        verdict: As for `next_step`.
        reason: As for `next_step`.
        step: Its `next_step`.
        weakened: Whether the present interval no longer supports the verdict.
        failing: Whether a stage raised an error for it.
    """
    if failing:
        return "broken"
    if reason in CONTRADICTED:
        return "contradicted"
    if state in ("signed_off", "declined"):
        return "decided"
    if weakened:
        return "weakened"
    if reason == "split_declined":
        return "hindered"
    if state in DECIDES:
        return "waiting"
    if state in (None, "registered", "sampling"):
        calm = "running" if state == "sampling" else "not_started"
        return calm if step in OF_STATE.values() else "hindered"
    return "concluded" if verdict is not None and reason != "no_pairs" else "hindered"
