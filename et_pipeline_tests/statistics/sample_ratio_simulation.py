"""How often does the sample-ratio check alarm while the split is right, and how soon when it is not?

``python -m et_pipeline_tests.statistics.sample_ratio_simulation [--experiments N] [--seed S] [--processes P]``
prints a Markdown table. Every experiment is looked at after every opportunity. At the pipeline's own alarm
level, 0.001, false alarms are too rare to count well, so 0.05 stands beside it; Pearson's chi-squared test
at 0.05, looked at as often, shows what it replaces.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from et_pipeline.inference.sample_ratio import log_e_value
from et_pipeline_tests.statistics.parallel import heading, line, options, rate, repeat

CHI_SQUARED_95 = 3.841459
SKIPPED = 10
"""Looks the chi-squared test is spared, its approximation being poor there."""


class Split(NamedTuple):
    """Planned and true share of the variant."""

    planned: float
    true: float
    opportunities: int = 10_000


SCENARIOS = [
    Split(0.1, 0.1),
    Split(0.5, 0.5),
    Split(0.02, 0.02),
    Split(0.1, 0.12),
    Split(0.1, 0.15),
    Split(0.5, 0.53),
    Split(0.1, 0.0),
]


class Outcome(NamedTuple):
    """One experiment."""

    alarm: bool
    """At 0.001."""
    alarm_05: bool
    chi_squared: bool
    opportunities: float
    """Until the alarm at 0.001; infinite without one."""


def experiment(split: Split, seed: np.random.SeedSequence) -> Outcome:
    """Assigns opportunities one by one and looks after each."""
    rng = np.random.default_rng(seed)
    n = np.arange(1, split.opportunities + 1)
    variant = np.cumsum(rng.random(split.opportunities) < split.true)
    log_e = log_e_value(variant, n - variant, split=split.planned)
    alarms = log_e >= np.log(1000.0)
    expected = n * split.planned
    statistic = (variant - expected) ** 2 / (expected * (1.0 - split.planned))
    return Outcome(
        bool(alarms.any()),
        bool((log_e >= np.log(20.0)).any()),
        bool((statistic[SKIPPED:] > CHI_SQUARED_95).any()),
        float(np.argmax(alarms) + 1) if alarms.any() else np.inf,
    )


HEAD = [
    "planned",
    "true share",
    "alarm at 0.001",
    "alarm at 0.05",
    "chi-squared at 0.05",
    "median opportunities",
]


def row(split: Split, outcomes: list[Outcome]) -> list[str]:
    """One line of the table."""
    median = float(np.quantile([outcome.opportunities for outcome in outcomes], 0.5, method="lower"))
    return [
        f"{split.planned:.0%}",
        f"{split.true:.0%}",
        rate([outcome.alarm for outcome in outcomes]),
        rate([outcome.alarm_05 for outcome in outcomes]),
        rate([outcome.chi_squared for outcome in outcomes]),
        f"{median:,.0f}" if np.isfinite(median) else "no alarm",
    ]


def main() -> int:
    """Prints the table; the exit status is 1 when a right split alarms more often than nominal."""
    chosen = options(__doc__, 4000)
    print(heading(HEAD), flush=True)
    results = []
    for split in SCENARIOS:
        outcomes = repeat(partial(experiment, split), chosen.experiments, chosen.seed, chosen.processes)
        print(line(row(split, outcomes)), flush=True)
        results.append((split, outcomes))
    right = [outcomes for split, outcomes in results if split.planned == split.true]
    return int(any(np.mean([outcome.alarm_05 for outcome in outcomes]) > 0.05 for outcomes in right))


if __name__ == "__main__":
    raise SystemExit(main())
