"""What derived metrics and another weighting find where nothing is, and what stopping adds to an estimate.

``python -m et_pipeline_tests.statistics.worth_simulation [--experiments N] [--seed S] [--processes P]`` prints two
Markdown tables. In the first, experiments are looked at where their plan has looks; an experiment misses where any of
its intervals leaves out the truth, so the column is false significance where the truth is 0, and lost coverage where it
is not. The second has the mean at a verdict of *better* beside the median-unbiased estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from et_pipeline.inference import boundary, bounded, cells, ratio
from et_pipeline.inference.arms import HOUR, adjusted
from et_pipeline.inference.horizon import Horizon, on_horizon
from et_pipeline.inference.markets import market_path, weighted
from et_pipeline.inference.spending import BETTER, boundaries
from et_pipeline.inference.twoway import IntervalPath, interval_path, planned_clusters
from et_pipeline.inference.unbiased import median_unbiased
from et_pipeline_tests.statistics.parallel import heading, line, options, rate, repeat

ALPHA = 0.05
LOOKS = 64
KNOWN = 1e7
"""Degrees of freedom with which a t quantile is a normal one."""


class Worth(NamedTuple):
    """How trades come about: sizes are Pareto distributed with shape 1.5, so their variance is infinite."""

    name: str
    kind: str
    """`by size`, `share`, `bounded share`, `pairs`, or `trades`: all trades of both arms, a tenth of them the variant's."""
    blocks: int = 300
    markets: int = 60
    pairs: int = 4000
    zipf: bool = False
    market_sd: float = 0.3
    block_sd: float = 0.3
    own_sizes: bool = False
    """Whether both arms have a size of their own; else they trade nearly the same."""
    rare: float = 0.2
    """Share of the control's trades beyond the limit."""
    uplift: float = 0.0
    """Shift of the variant's values, in standard deviations of single trades."""
    over_markets: bool = False
    """Whether it is the mean over markets."""


class Outcome(NamedTuple):
    """One experiment."""

    missed: bool
    """Whether an interval at a look ever left out the truth."""
    ready: bool
    """Whether there was any interval."""
    error: float
    """Estimate at the end less the truth."""
    se: float
    clusters: float


def draw(
    scenario: Worth, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Block, market, and values of variant and control of each pair; what the arms have in common is in both."""
    weight = 1 / np.arange(1, scenario.markets + 1) if scenario.zipf else np.ones(scenario.markets)
    block = np.sort(rng.integers(0, scenario.blocks, scenario.pairs))
    market = rng.choice(scenario.markets, scenario.pairs, p=weight / weight.sum())
    effect = scenario.market_sd * rng.normal(size=scenario.markets)[market]
    effect += scenario.block_sd * rng.normal(size=scenario.blocks)[block]
    value = rng.normal(size=(scenario.pairs, 2)) + rng.normal(size=(scenario.pairs, 1))
    value[:, 0] += effect + scenario.uplift
    return block * HOUR, market, value


def experiment(scenario: Worth, seed: np.random.SeedSequence) -> Outcome:
    """Draws one experiment and looks at it where its plan has looks."""
    rng = np.random.default_rng(seed)
    block, market, value = draw(scenario, rng)
    g = boundary.solve_g(planned_clusters(scenario.blocks, scenario.markets), ALPHA)
    merged, truth = _cells(scenario, rng, block, market, value)
    by_size = scenario.kind == "by size"
    if scenario.over_markets:
        path = market_path(merged, planned_blocks=scenario.blocks, alpha=ALPHA, g=g, by_size=by_size)
    elif isinstance(merged, ratio.RatioCells):
        path = ratio.ratio_path(merged, alpha=ALPHA, g=g, by_size=by_size)
    else:
        path = interval_path(merged, alpha=ALPHA, g=g)
    looked, _ = on_horizon(path, Horizon(0, HOUR, scenario.blocks), alpha=ALPHA, alarm_alpha=ALPHA)
    if isinstance(merged, cells.Cells) and scenario.kind == "bounded share":
        counted = weighted(merged, planned_blocks=scenario.blocks) if scenario.over_markets else merged
        looked = bounded.hull(
            looked,
            bounded.block_means(counted, (-1.0, 1.0)),
            bounds=(-1.0, 1.0),
            planned_blocks=scenario.blocks,
            alpha=ALPHA,
        )
    return _outcome(path, looked, truth)


def _cells(
    scenario: Worth,
    rng: np.random.Generator,
    block: NDArray[np.int64],
    market: NDArray[np.int64],
    value: NDArray[np.float64],
) -> tuple[cells.Cells | ratio.RatioCells, float]:
    """What the scenario's kind makes of both arms' values, and its true uplift."""
    if scenario.kind == "by size":
        size = rng.pareto(1.5, (scenario.pairs, 2)) + 1
        if not scenario.own_sizes:
            size[:, 0] = size[:, 1] * rng.uniform(0.5, 1.5, scenario.pairs)
        arms = [np.column_stack((value[:, arm] * size[:, arm], size[:, arm])) for arm in (0, 1)]
        return ratio.from_pairs(block, market, *arms), scenario.uplift
    if scenario.kind == "trades":
        value = value + rng.normal(size=scenario.markets)[market][:, None]
        of_variant = rng.random(scenario.pairs) < 0.1
        own = np.column_stack((of_variant, ~of_variant)).astype(np.float64)
        totals = np.column_stack((value[:, 0] * own[:, 0], own[:, 0], value[:, 1] * own[:, 1], own[:, 1]))
        trades = ratio.merge(ratio.RatioCells(block, market, own, totals))
        return adjusted(trades), scenario.uplift
    truth, of_pairs = scenario.uplift, value[:, 0] - value[:, 1]
    if scenario.kind.endswith("share"):
        # Control: variance 2; variant: that of its effects besides.
        limit = np.sqrt(2) * _normal_quantile(1 - scenario.rare)
        sd = np.sqrt(2 + scenario.market_sd**2 + scenario.block_sd**2)
        truth = float(ndtr(-(limit - scenario.uplift) / sd) - ndtr(-limit / np.sqrt(2)))
        of_pairs = (value > limit).astype(np.float64) @ np.array([1.0, -1.0])
    return cells.from_pairs(block, market, of_pairs), truth


def _outcome(path: IntervalPath, looked: IntervalPath, truth: float) -> Outcome:
    at_look = looked.ready & looked.look
    missed = at_look & ((looked.ci_lower > truth) | (looked.ci_upper < truth))
    return Outcome(
        bool(missed.any()),
        bool(at_look.any()),
        float(path.mean[-1] - truth),
        float(path.se[-1]),
        float(looked.clusters[-1]),
    )


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))


SCENARIOS = [
    Worth("by size, sizes in common", "by size"),
    Worth("by size, sizes of their own", "by size", own_sizes=True),
    Worth("by size, Zipf markets", "by size", zipf=True, market_sd=0.5),
    Worth("by size, 20 markets", "by size", markets=20),
    Worth("by size, true uplift", "by size", uplift=0.5),
    Worth("share of 20 %", "share"),
    Worth("share of 20 %, true uplift", "share", uplift=0.5),
    Worth("share of 1 %, bounded", "bounded share", rare=0.01, market_sd=0.0, block_sd=0.0),
    Worth("share of 20 %, bounded, true uplift", "bounded share", uplift=0.5),
    Worth("300 Zipf markets, mean over pairs", "pairs", 300, 300, 3000, True, 0.42, 0.0),
    Worth("300 Zipf markets, mean over markets", "pairs", 300, 300, 3000, True, 0.42, 0.0, over_markets=True),
    Worth("60 markets alike, mean over markets", "pairs", market_sd=0.0, over_markets=True),
    Worth("60 markets, mean over markets, true uplift", "pairs", market_sd=0.5, uplift=0.5, over_markets=True),
    Worth("by size, 300 Zipf markets", "by size", 300, 300, 3000, True, 0.42, 0.0),
    Worth("by size, 300 Zipf markets, mean over markets", "by size", 300, 300, 3000, True, 0.42, 0.0, over_markets=True),
    Worth("share of 20 %, 300 Zipf markets", "share", 300, 300, 3000, True, 0.42, 0.0, uplift=0.5),
    Worth("share of 20 %, 300 Zipf markets, mean over markets", "share", 300, 300, 3000, True, 0.42, 0.0, uplift=0.5,
          over_markets=True),
    Worth("share of 2 %, bounded, mean over markets", "bounded share", rare=0.02, zipf=True, over_markets=True),
    Worth("all trades, 300 Zipf markets", "trades", 300, 300, 12000, True, 0.42, 0.0),
    Worth("all trades, 300 Zipf markets, mean over markets", "trades", 300, 300, 12000, True, 0.42, 0.0,
          over_markets=True),
    Worth("all trades, 60 markets, mean over markets, true uplift", "trades", pairs=12000, uplift=0.5,
          over_markets=True),
]  # fmt: skip
"""Every scenario is held to the figure. A share's truth counts the effects of markets and blocks as random."""


class Summary(NamedTuple):
    """One scenario's row."""

    scenario: Worth
    missed: list[bool]
    unready: float
    spread: float
    """Standard deviation of the estimate over experiments."""
    se: float
    """Median standard error at the end."""
    clusters: float

    @property
    def allowed(self) -> float:
        """0.05 plus two Monte Carlo standard errors of a rate that is exactly 0.05."""
        return ALPHA + 2 * float(np.sqrt(ALPHA * (1 - ALPHA) / len(self.missed)))

    @property
    def missed_rate(self) -> float:
        """Share of experiments with an interval that left out the truth."""
        return float(np.mean(self.missed))


def run(scenarios: Sequence[Worth], experiments: int, seed: int, processes: int) -> list[Summary]:
    """Simulates every scenario; the result depends on the seed and on nothing else."""
    found = []
    for place, scenario in enumerate(scenarios):
        outcomes = repeat(partial(experiment, scenario), experiments, seed + place, processes)
        found.append(
            Summary(
                scenario,
                [one.missed for one in outcomes],
                float(np.mean([not one.ready for one in outcomes])),
                float(np.std([one.error for one in outcomes], ddof=1)),
                float(np.median([one.se for one in outcomes])),
                float(np.median([one.clusters for one in outcomes])),
            )
        )
    return found


class Curse(NamedTuple):
    """What a verdict of *better* says of a true uplift, in standard errors at the end of the plan."""

    uplift: float
    stopped: float
    """Share of experiments with the verdict."""
    mean_bias: float
    """Mean of the means at the verdict, less the truth."""
    unbiased_bias: float
    """The same of the median-unbiased estimates."""
    error: float
    """Monte Carlo standard error of the latter."""
    mean_too_high: float
    """Share of all experiments whose mean at the verdict is above the truth; without a verdict it counts as below."""
    unbiased_too_high: float


def curse(uplift: float, experiments: int, seed: int, looks: int = LOOKS) -> Curse:
    """Experiments with known variance, all looks from the first fifth on, that stop at the first that says better."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, looks + 1) / looks
    taken = share >= 0.2
    bound = boundaries(share[taken], share[taken], [ALPHA])[BETTER, 0]
    se = 1 / np.sqrt(share[taken])
    means, estimates = [], []
    for _ in range(experiments):
        path = (uplift + np.cumsum(rng.normal(size=looks)) / np.sqrt(looks) / share)[taken]
        crossed = np.flatnonzero(path >= bound * se)
        if len(crossed):
            until = slice(0, crossed[0] + 1)
            means.append(path[crossed[0]])
            reach = (bound * se)[until]
            estimates.append(median_unbiased(path[until], se[until], np.full(len(reach), KNOWN), reach))
    mean, unbiased = np.array(means), np.array(estimates)
    return Curse(
        uplift,
        len(mean) / experiments,
        float(mean.mean() - uplift),
        float(unbiased.mean() - uplift),
        float(unbiased.std(ddof=1) / np.sqrt(len(unbiased))),
        float(np.sum(mean > uplift) / experiments),
        float(np.sum(unbiased > uplift) / experiments),
    )


def table(summaries: Sequence[Summary]) -> str:
    """Markdown."""
    head = [
        "scenario",
        "truth ever missed",
        "no interval",
        "spread of the estimate",
        "median se",
        "effective clusters",
    ]
    lines = [heading(head)]
    for row in summaries:
        found = [row.scenario.name, rate(row.missed), f"{row.unready:.1%}"]
        lines.append(line([*found, f"{row.spread:.4f}", f"{row.se:.4f}", f"{row.clusters:.0f}"]))
    return "\n".join(lines)


def curse_table(rows: Sequence[Curse]) -> str:
    """Markdown."""
    head = ["true uplift (final se)", "better", "bias of the mean", "bias of the median-unbiased", "mean too high",
            "median-unbiased too high"]  # fmt: skip
    lines = [heading(head)]
    for row in rows:
        biases = [f"{row.mean_bias:+.2f}", f"{row.unbiased_bias:+.2f} ± {row.error:.2f}"]
        lines.append(line([f"{row.uplift:g}", f"{row.stopped:.0%}", *biases, f"{row.mean_too_high:.0%}",
                           f"{row.unbiased_too_high:.0%}"]))  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Prints the tables; the exit status is 1 when a scenario exceeds the figure."""
    chosen = options(__doc__, 1000)
    summaries = run(SCENARIOS, chosen.experiments, chosen.seed, chosen.processes)
    print(table(summaries), end="\n\n")
    uplifts = (1.0, 2.0, 3.24, 4.0)
    print(curse_table([curse(uplift, chosen.experiments, chosen.seed) for uplift in uplifts]))
    return int(any(row.missed_rate > row.allowed for row in summaries))


if __name__ == "__main__":
    raise SystemExit(main())
