"""What the words of pages, commands and messages mean.

`python -m et_pipeline.insight.glossary > docs/glossary.md` writes the page of the documentation again. Each review page
links to a page with the same terms.
"""

from __future__ import annotations

TERMS = {
    "adjusted uplift": (
        "In limited live: the uplift after the level of each market and hour of the day is taken out of both "
        "arms."
    ),
    "alpha": (
        "The error rate of the plan: of experiments without any difference, at most this share gets a verdict "
        "that there is one. It is 5 % unless the plan says otherwise."
    ),
    "arm": "The `control`, which trades now, or the `variant`, which may replace it.",
    "block": (
        "A stretch of time of `time_block` length, for example an hour. A block is completed (closed) when both "
        "arms have reported an opportunity of a later time. Only completed blocks count for a verdict."
    ),
    "breakdown": (
        "The uplift within each value of a dimension, such as a side or an hour of the day. Breakdowns are for "
        "exploration and decide nothing."
    ),
    "contradicted": (
        "Later reports or an amended plan changed the evidence, so the announced verdict no longer follows."
    ),
    "control": "The strategy that trades now.",
    "coverage": "The share of the pairs for which the backtester replayed the control too.",
    "dead letter": (
        "A message that could not be delivered in many rounds, or that its receiver refused. `et outbox list` "
        "shows it."
    ),
    "drift signal": (
        "A message to the StrategyRegistry that a variant underperforms. It is information and asks for no "
        "change."
    ),
    "e-value": (
        'Evidence against "there is no difference". An e-value of 20 is about as strong as a p-value of 0.05, '
        "however often one checks."
    ),
    "effective sample size": (
        "The number of independent groups that the pairs count as (`effective_clusters`). It is smaller than the "
        "number of pairs, because pairs of one market, and pairs of one block, move together. Nothing is "
        "concluded below 10."
    ),
    "equivalent": "The whole interval lies within the equivalence margin of the plan, so the arms count as equal.",
    "evidence hash": (
        "A fingerprint of the figures behind a verdict. Each sign-off names the evidence hash that it is given "
        "for."
    ),
    "family": "Variants of one control that answer one question. They are shown side by side and judged together.",
    "fixed-size interval": "The interval of an analysis that looks only once, at the planned size. It never decides.",
    "guardrail": "A metric that may not lose more than its margin.",
    "interval": (
        "The range that contains the true mean uplift with the confidence of the plan. It is valid however often "
        "you check."
    ),
    "level": "The mean of one arm on its own.",
    "like for like": (
        "The comparison of the variant's replay with the replayed control. Errors that the backtester makes in "
        "both replays cancel."
    ),
    "look": "A moment at which an interval is stated and a verdict may be given.",
    "margin": (
        "For a guardrail: how much it may lose. For the primary metric: how far apart the arms may be and still "
        "count as equal."
    ),
    "median-unbiased estimate": (
        "An estimate of the true uplift after a verdict. Over all experiments of a plan, it is too high at most "
        "half of the time. The mean at the verdict is too high more often, because the experiment stopped when "
        "the mean was large."
    ),
    "metric by size": (
        "A metric such as `edge_bps.by.filled_size`. Each trade counts by its size, so it is the edge of a "
        "contract and not of a trade."
    ),
    "p-value": (
        "The probability that a difference of this size or more appears at some look of the plan, if there is no "
        "difference."
    ),
    "pair": "A report of the control and a report of the variant about the same opportunity.",
    "plan": (
        "The definition of an experiment: its arms, metrics, margins and window. Most of it is frozen once the "
        "experiment has started."
    ),
    "portfolio": (
        "All experiments of the last 90 days, counted together. Among many experiments some look better by luck; "
        "the portfolio shows which discoveries stand nevertheless."
    ),
    "primary": "The metric that decides.",
    "replay": "A report of the backtester, which simulates what a strategy would have done.",
    "replay gap": (
        "The replayed control minus the live control: how much better (or worse) the backtester makes trades "
        "look."
    ),
    "report": "One OperationsReport of the bus or of the backtester.",
    "sample ratio": "The variant's share of the traffic, compared with the planned share.",
    "shadow": (
        "A mode in which the backtester simulates the variant's trades by replaying what happened. In the mode "
        "`limited_live` the variant trades a share of the traffic."
    ),
    "sign-off": "A human's signed decision about one plan and its evidence.",
    "snapshot": "A file of reports that never changes.",
    "stalled": "Reports cannot be read, so sampling and verdicts pause until they can.",
    "uplift": "Variant minus control, turned so that positive is good for the variant.",
    "variant": "The strategy that may replace the control.",
    "verdict": "The result of an experiment: `variant_better`, `variant_worse`, `equivalent` or `inconclusive`.",
    "weakened": (
        "The present interval no longer supports the announced verdict. The verdict stands, but an approval has "
        "to say that its signer knows this."
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
