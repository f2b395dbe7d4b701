"""What a person does next, in one sentence: for the review pages, `et status` and `et show`."""

from __future__ import annotations

from collections.abc import Collection

OF_STATE = {
    "registered": "Nothing to do: sampling begins at the planned start.",
    "awaiting_sign_off": "A human decides about the split before sampling begins.",
    "sampling": "Nothing to do: sampling goes on until the evidence suffices or the experiment ends.",
    "stalled": "Bring the report bus back; sampling resumes by itself and nothing is lost.",
    "promotion_review": "Decide from the review page: approve or decline with a signed decision.",
    "signed_off": "Humans approved this evidence. The promotion itself happens in another system.",
    "declined": "A human declined: the control keeps trading.",
}
OF_VERDICT = {
    "variant_better": "The plan asks for no review. Nothing is promoted by itself.",
    "variant_worse": "Stop the variant. The StrategyRegistry was sent a drift signal.",
    "equivalent": "Neither is better by more than the plan calls equal: choose by cost.",
    "inconclusive": "No evidence either way. A longer run needs a new experiment id.",
}
WRONG_SPLIT = (
    "Find out why the arms got other shares than planned, before another run under a new experiment id."
)
SPLIT_DECLINED = "Lower traffic_split_pct in the plan to 50 or less, or plan it under a new experiment id."
DECIDES = ("awaiting_sign_off", "promotion_review")
"""States in which a human's signature is waited for."""


def next_step(
    state: str | None, verdict: str | None, missing: Collection[str], reason: str | None = None
) -> str:
    """The sentence.

    Args:
        state: State of the experiment; None before the first tick that looked at it.
        verdict: Its verdict, None where there is none.
        missing: The conditions that keep a better answer away.
        reason: Why it stands as it does (`verdicts.reason`).
    """
    if reason == "split_declined":
        return SPLIT_DECLINED
    if verdict is None or state in OF_STATE:
        return OF_STATE[state or "registered"]
    if verdict == "inconclusive" and "sample_ratio_alarm" in missing:
        return WRONG_SPLIT
    return OF_VERDICT[verdict]


def command(experiment_id: str, state: str | None, reason: str | None = None) -> str | None:
    """The command that carries it out, None where nobody has to sign."""
    signs = state in DECIDES and reason != "split_declined"
    return f"et sign-off {experiment_id} approve" if signs else None
