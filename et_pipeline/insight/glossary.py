"""What the words of pages, commands and messages mean.

`python -m et_pipeline.insight.glossary > docs/glossary.md` writes the page of the documentation again. Each review page
links to a page with the same terms.
"""

from __future__ import annotations

TERMS = {
    "alpha": (
        "Of experiments without any difference, at most this share is called different; 5 % unless the plan says "
        "otherwise."
    ),
    "arm": "The `control`, which trades today, or the `variant`, which may replace it.",
    "block": (
        "A stretch of time of `time_block` length, for example an hour. Figures are looked at when a block is "
        "closed: when both arms have moved on."
    ),
    "breakdown": (
        "The uplift within each value of a dimension, such as a side or an hour of the day. It explores; it "
        "decides nothing."
    ),
    "contradicted": (
        "Late reports or an amended plan changed the evidence so that the announced verdict no longer follows."
    ),
    "control": "The strategy that trades now.",
    "coverage": "The share of the pairs for which the backtester replayed the control too.",
    "dead letter": "A message that could not be delivered in many rounds; `et outbox list` shows it.",
    "drift signal": (
        "What the StrategyRegistry is told of a variant that underperforms. It is information; it asks for no "
        "change."
    ),
    "e-value": (
        'Evidence against "there is no difference": 20 is about as strong as a p-value of 0.05, however often one '
        "looks."
    ),
    "effective sample size, independent groups": (
        "What the pairs count as once it is seen that pairs of one market, and of one block, move together. "
        "Nothing is concluded below 10."
    ),
    "equivalent": "The interval lies within the margin that the plan calls equal.",
    "evidence hash": "A fingerprint of the figures behind a verdict. A sign-off is given for one.",
    "family": "Variants of one control that are shown and counted side by side.",
    "fixed-size interval": "What a single analysis at a planned size would say. It never decides.",
    "guardrail": "A metric that may not lose more than its margin.",
    "interval": (
        "The range in which the mean uplift lies, at the confidence that the plan asks for; valid however often "
        "it is looked at."
    ),
    "level": "The mean of one arm on its own.",
    "like for like": (
        "The variant's replay against the replayed control: what the backtester adds to both falls away."
    ),
    "look": "A moment at which an interval is stated and a verdict may fall.",
    "margin": "How much a guardrail may lose, or how far apart two arms may be and still count as equal.",
    "median-unbiased estimate": (
        "What the primary is worth after a verdict: over all experiments of a plan it is too high half of the time at "
        "most, while the mean at the moment of stopping is too high more often."
    ),
    "metric by size": (
        "`edge_bps.by.filled_size`: each trade counts by its size, so it is the edge of a contract and not of a trade."
    ),
    "p-value": (
        "How often a difference of this size or more would come up at some look of the plan if there were none."
    ),
    "pair": "A report of the control and one of the variant about the same opportunity.",
    "plan": (
        "What is registered before an experiment: its arms, metrics, margins and window. Most of it is frozen "
        "once the experiment has started."
    ),
    "portfolio": (
        "All experiments of the last 90 days, counted together: which of those called better stand when the lucky "
        "ones are allowed for."
    ),
    "primary": "The metric that decides.",
    "replay": "A report of the backtester, which simulates what a strategy would have done.",
    "replay gap": "The replayed control against the live one: what the backtester flatters.",
    "report": "One OperationsReport of the bus or of the backtester.",
    "sample ratio": "The share of the traffic that the variant got, against the share that was planned.",
    "shadow": (
        "The variant's trades are simulated by replaying what happened; in `limited_live` it trades a share of "
        "the traffic."
    ),
    "sign-off": "A human's signed decision about one plan and one piece of evidence.",
    "snapshot": "An immutable file of reports.",
    "stalled": "No reports arrive; nothing is concluded until they do.",
    "uplift": "Variant minus control, turned so that positive is good for the variant.",
    "variant": "The strategy that may replace the control.",
    "verdict": "`variant_better`, `variant_worse`, `equivalent` or `inconclusive`.",
    "weakened": (
        "The present interval would no longer give the announced verdict. The verdict stands; an approval has to "
        "say that its signer knows."
    ),
    "winsorised": "A value beyond a limit of the plan counts as that limit.",
}
"""The meaning of each term in plain sentences; a text between backticks is a name."""


def markdown() -> str:
    """The glossary as a Markdown page."""
    lines = ["# Glossary", "", "| word | meaning |", "|---|---|"]
    lines += [f"| {word} | {meaning} |" for word, meaning in TERMS.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
