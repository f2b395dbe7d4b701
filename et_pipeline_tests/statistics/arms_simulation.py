"""Limited live: what comparing all trades of both arms finds, and how often it finds what is not there.

``python -m et_pipeline_tests.statistics.arms_simulation [--experiments N] [--seed S] [--processes P]`` prints a
Markdown table. Every rule but the plain t interval is looked at where its plan has looks, the plain one after every
block. The estimators move by exactly as much as an uplift that is added to the variant's values, so one
experiment without a difference tells false alarms and power alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import stdtrit

from et_pipeline.inference import boundary, cells, ratio
from et_pipeline.inference.arms import HOUR, adjusted
from et_pipeline.inference.horizon import Horizon, on_horizon
from et_pipeline.inference.twoway import IntervalPath, interval_path, planned_clusters
from et_pipeline_tests.statistics.parallel import heading, line, options, rate, repeat

ALPHA = 0.05
TOLERANCE = 0.25
"""Hours between the trades of a nearest pair."""
UPLIFT = 4.0
"""For power: the true uplift, in standard errors that the noise of single trades alone would have."""
RULES = ("adjusted", "unadjusted", "nearest", "t")


class LiveScenario(NamedTuple):
    """How trades come about. The noise of single trades has a standard deviation of 1."""

    name: str
    split: float = 0.1
    markets: int = 60
    trades: int = 6000
    blocks: int = 336
    market_sd: float = 0.0
    hour_sd: float = 0.0
    phi: float = 0.0
    """AR(1) coefficient of the shocks that hours bring to both arms."""
    daily_sd: float = 0.0
    """Standard deviation of what belongs to an hour of the day."""
    variant_sd: float = 0.0
    """Standard deviation of the variant's own uplift from market to market; it is 0 on average."""
    tails: bool = False
    """Whether noise is that of a t distribution with 3 degrees of freedom."""
    sized: bool = False
    """Whether trades weigh by a size that is Pareto distributed with shape 2.5."""
    drifting: float = 0.0
    """Standard deviation, at the end, of the random walk that each market's log odds of the split make."""


class Trades(NamedTuple):
    """Trades of both arms in order of time."""

    hour: NDArray[np.float64]
    market: NDArray[np.int64]
    variant: NDArray[np.bool_]
    value: NDArray[np.float64]
    size: NDArray[np.float64]

    @property
    def block(self) -> NDArray[np.int64]:
        """Start of each trade's block, in microseconds: blocks are hours."""
        return self.hour.astype(np.int64) * HOUR

    @property
    def cells(self) -> ratio.RatioCells:
        """What pipelines keep of them."""
        arm = np.stack((self.variant, ~self.variant), axis=1).astype(np.float64)
        weight = arm * self.size[:, None]
        totals = np.stack((weight * self.value[:, None], weight), axis=2).reshape(-1, 4)
        return ratio.merge(ratio.RatioCells(self.block, self.market, arm, totals))


def draw(scenario: LiveScenario, rng: np.random.Generator) -> Trades:
    """One experiment without a difference between its arms."""
    n, blocks = scenario.trades, scenario.blocks
    hour = np.sort(rng.uniform(0, blocks, n))
    block = hour.astype(np.int64)
    market = rng.integers(0, scenario.markets, n)
    walks = rng.normal(0, scenario.drifting / np.sqrt(blocks), (scenario.markets, blocks)).cumsum(axis=1)
    odds = scenario.split / (1 - scenario.split) * np.exp(walks[market, block])
    shocks = rng.normal(size=blocks)
    shocks[1:] *= np.sqrt(1 - scenario.phi**2)
    shock = lfilter([1.0], [1.0, -scenario.phi], shocks)
    noise = rng.standard_t(3, n) / np.sqrt(3) if scenario.tails else rng.normal(size=n)
    size = rng.pareto(2.5, n) + 1 if scenario.sized else np.ones(n)
    value = noise + scenario.market_sd * rng.normal(size=scenario.markets)[market]
    value += scenario.hour_sd * shock[block] + scenario.daily_sd * rng.normal(size=24)[block % 24]
    variant = rng.random(n) < odds / (1 + odds)
    value += np.where(variant, scenario.variant_sd * rng.normal(size=scenario.markets)[market], 0.0)
    return Trades(hour, market, variant, value, size)


def nearest_pairs(trades: Trades) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Controls and variants that are matched within a market: one to one, the shortest distance first."""
    couples = []
    for market in np.unique(trades.market):
        control, variant = (
            np.flatnonzero((trades.market == market) & (trades.variant == arm)) for arm in (False, True)
        )
        apart = np.abs(trades.hour[control][:, None] - trades.hour[variant])
        i, j = np.nonzero(apart <= TOLERANCE)
        couples += zip(apart[i, j], control[i], variant[j], strict=True)
    taken: set[int] = set()
    pairs = []
    for _, control, variant in sorted(couples):
        if taken.isdisjoint((control, variant)):
            taken |= {control, variant}
            pairs.append((control, variant))
    chosen = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return chosen[:, 0], chosen[:, 1]


def plain_t(trades: Trades) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Difference and half width of the two-sample t interval of Welch (1947) after every block."""
    blocks = np.unique(trades.block)
    last = np.searchsorted(trades.block, blocks, side="right") - 1
    means, variances, counts = [], [], []
    for arm in (True, False):
        mine = trades.variant == arm
        n = np.cumsum(mine)[last]
        total, squares = (np.cumsum(np.where(mine, trades.value**power, 0.0))[last] for power in (1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(total / n)
            variances.append((squares - total**2 / n) / (n - 1) / n)
        counts.append(n)
    half = np.full(len(blocks), np.inf)
    enough = np.minimum(*counts) >= 10  # no rule is made to look bad by looks at a handful of trades
    half[enough] = (stdtrit(np.minimum(*counts) - 1, 1 - ALPHA / 2) * np.sqrt(sum(variances)))[enough]
    return means[0] - means[1], half


class Outcome(NamedTuple):
    """One experiment, per rule of `RULES`."""

    alarm: list[bool]
    found: list[bool]
    """Whether a true uplift was ever told from none."""
    se: list[float]
    """Standard error at the end; NaN where there is none."""
    clusters: float
    """Effective clusters of the smaller arm at the end."""
    matched: float
    """Share of the variant's trades that have a nearest partner."""


def experiment(scenario: LiveScenario, seed: np.random.SeedSequence) -> Outcome:
    """Draws one experiment and looks at it by every rule."""
    trades = draw(scenario, np.random.default_rng(seed))
    g = boundary.solve_g(planned_clusters(scenario.blocks, scenario.markets), ALPHA)
    control, variant = nearest_pairs(trades)
    pairs = cells.from_pairs(
        trades.block[control], trades.market[control], trades.value[variant] - trades.value[control]
    )
    paths = [
        ratio.ratio_path(adjusted(trades.cells), alpha=ALPHA, g=g),
        ratio.ratio_path(trades.cells, alpha=ALPHA, g=g),
        *([interval_path(pairs, alpha=ALPHA, g=g)] if len(control) else []),
    ]
    n = trades.variant.sum()
    uplift = UPLIFT * np.sqrt(1 / n + 1 / (scenario.trades - n))
    looked = [_looks(path, scenario, uplift) for path in paths]
    looked += [(False, False, np.nan)] * (3 - len(paths))
    mean, half = plain_t(trades)
    quantile = stdtrit(n - 1, 1 - ALPHA / 2)
    looked.append(
        (bool((np.abs(mean) > half).any()), bool((mean + uplift > half).any()), float(half[-1] / quantile))
    )
    alarm, found, se = (list(column) for column in zip(*looked, strict=True))
    return Outcome(alarm, found, se, float(paths[0].clusters[-1]), len(variant) / n)


def _looks(path: IntervalPath, scenario: LiveScenario, uplift: float) -> tuple[bool, bool, float]:
    ours, _ = on_horizon(path, Horizon(0, HOUR, scenario.blocks), alpha=ALPHA, alarm_alpha=ALPHA)
    alarm = ours.ready & ((ours.ci_lower > 0) | (ours.ci_upper < 0))
    return bool(alarm.any()), bool((ours.ready & (ours.ci_lower + uplift > 0)).any()), float(path.se[-1])


SCENARIOS = [
    LiveScenario("nothing in common"),
    LiveScenario("market and hour effects", market_sd=0.5, hour_sd=0.3, daily_sd=0.3),
    LiveScenario("split 5 %", split=0.05, market_sd=0.5, hour_sd=0.3, daily_sd=0.3),
    LiveScenario("split 50 %", split=0.5, market_sd=0.5, hour_sd=0.3, daily_sd=0.3),
    LiveScenario("20 markets", markets=20, market_sd=0.5, daily_sd=0.3),
    LiveScenario("3000 markets", markets=3000, market_sd=0.5, daily_sd=0.3),
    LiveScenario("strong market effects", market_sd=1.5, daily_sd=0.5),
    LiveScenario("φ = 0.3", market_sd=0.3, hour_sd=0.7, phi=0.3),
    LiveScenario("φ = 0.6", market_sd=0.3, hour_sd=0.7, phi=0.6),
    LiveScenario("t(3)", market_sd=0.5, hour_sd=0.3, tails=True),
    LiveScenario("Pareto sizes", market_sd=0.5, hour_sd=0.3, sized=True),
    LiveScenario("uplift differs between markets", market_sd=0.5, variant_sd=0.3),
    LiveScenario("split drifts within markets", market_sd=0.5, hour_sd=0.3, drifting=1.0),
]  # fmt: skip
"""Every scenario of limited live; all are held to the figure."""


class Summary(NamedTuple):
    """One scenario's row; lists have one entry per rule of `RULES`."""

    scenario: LiveScenario
    experiments: int
    alarms: list[list[bool]]
    power: list[float]
    se: list[float]
    """Median standard error at the end, over that of the unadjusted difference."""
    clusters: float
    matched: float

    @property
    def allowed(self) -> float:
        """0.05 plus two Monte Carlo standard errors of a rate that is exactly 0.05."""
        return ALPHA + 2 * float(np.sqrt(ALPHA * (1 - ALPHA) / self.experiments))

    def false_rate(self, rule: str) -> float:
        """Share of experiments in which a rule called nothing a difference."""
        return float(np.mean(self.alarms[RULES.index(rule)]))


def summarise(scenario: LiveScenario, outcomes: Sequence[Outcome]) -> Summary:
    """Rates and medians over experiments."""
    alarms = [list(column) for column in zip(*(one.alarm for one in outcomes), strict=True)]
    se = np.array([one.se for one in outcomes])
    medians = [float(np.median(column[np.isfinite(column)])) for column in se.T]
    return Summary(
        scenario,
        len(outcomes),
        alarms,
        np.mean([one.found for one in outcomes], axis=0).tolist(),
        [median / medians[1] for median in medians],
        float(np.median([one.clusters for one in outcomes])),
        float(np.mean([one.matched for one in outcomes])),
    )


def run(scenarios: Sequence[LiveScenario], experiments: int, seed: int, processes: int) -> Iterator[Summary]:
    """Simulates one scenario after another; the result depends on the seed and on nothing else."""
    for place, scenario in enumerate(scenarios):
        outcomes = repeat(partial(experiment, scenario), experiments, seed + place, processes)
        yield summarise(scenario, outcomes)


COLUMNS = [
    *("scenario", "split", "markets", "effective clusters", "variant matched"),
    *(f"{what}: {rule}" for what in ("false alarms", "power", "se") for rule in RULES),
]


def table_row(summary: Summary) -> str:
    """A scenario's line of the Markdown table."""
    scenario = summary.scenario
    found = [scenario.name, f"{scenario.split:.0%}", f"{scenario.markets}", f"{summary.clusters:.0f}"]
    found += [f"{summary.matched:.0%}", *(rate(hits) for hits in summary.alarms)]
    return line([*found, *(f"{share:.2f}" for share in (*summary.power, *summary.se))])


def main() -> int:
    """Prints the table row by row; the exit status is 1 when a scenario exceeds the figure."""
    chosen = options(__doc__, 1000)
    missed = False
    print(heading(COLUMNS), flush=True)
    for summary in run(SCENARIOS, chosen.experiments, chosen.seed, chosen.processes):
        print(table_row(summary), flush=True)
        missed |= any(summary.false_rate(rule) > summary.allowed for rule in ("adjusted", "unadjusted"))
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
