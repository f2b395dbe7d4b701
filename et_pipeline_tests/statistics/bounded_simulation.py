"""Which interval of a bounded metric is true when outcomes are rare, markets differ and shocks last?

``python -m et_pipeline_tests.statistics.bounded_simulation [--experiments N] [--seed S] [--processes P]`` prints
a Markdown table: the two-way interval alone, betting on block means alone, and the pipeline's hull of both.
The true mean uplift is 0, every experiment is looked at after every block.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from et_pipeline.inference import boundary
from et_pipeline.inference.bounded import betting_interval, bounded_path, predictable_bets
from et_pipeline.inference.cells import from_pairs
from et_pipeline.inference.twoway import interval_path, planned_clusters
from et_pipeline_tests.statistics.parallel import heading, line, options, rate, repeat

ALPHA = 0.05
PAIRS_PER_BLOCK = 20


class Rare(NamedTuple):
    """How bounded uplifts come about: outcome kinds that have mean 0, moved by markets and blocks."""

    name: str
    kind: str
    """`spread`: continuous; `sign`: 0 and rarely ±1; `loss`: a small gain and rarely −1; `outage`: whole
    blocks lose; `bad market`: whole markets lose."""
    blocks: int = 300
    markets: int = 30
    market: float = 0.0
    """Share of the latent variance that pairs of one market have in common."""
    block: float = 0.0
    """Share that pairs of one block have in common."""
    phi: float = 0.0
    rate: float = 0.02
    """How often the rare thing happens."""
    held: bool = True
    """Whether the rate is held to the figure or only reported."""


SCENARIOS = [
    Rare("continuous", "spread"),
    Rare("continuous, market effects", "spread", market=0.3),
    Rare("continuous, 20 markets, 1000 blocks", "spread", 1000, 20, market=0.2),
    Rare("continuous, block shocks φ = 0", "spread", block=0.2),
    Rare("continuous, block shocks φ = 0.3", "spread", block=0.2, phi=0.3),
    Rare("continuous, block shocks φ = 0.6", "spread", 1000, block=0.2, phi=0.6),
    Rare("±1 in 2 % of pairs", "sign"),
    Rare("±1 in 20 %, market effects", "sign", market=0.2, block=0.1, rate=0.2),
    Rare("−1 in 1 %", "loss", rate=0.01),
    Rare("−1 in 0.2 %", "loss", rate=0.002),
    Rare("−1 in 0.5 %, shocks φ = 0.6", "loss", 1000, market=0.1, block=0.3, phi=0.6, rate=0.005),
    Rare("−1 in 2 %, market effects and shocks", "loss", 1000, 100, market=0.3, block=0.3),
    Rare("−1 in 2 %, 20 markets with effects", "loss", 1000, 20, market=0.3),
    Rare("0.5 % of blocks lose half", "outage", 1000, rate=0.005),
    Rare("3 % of 100 markets lose 0.1", "bad market", 1000, 100, rate=0.03),
    Rare("3 % of 30 markets lose 0.1", "bad market", 1000, 30, rate=0.03, held=False),
]


class Pairs(NamedTuple):
    """Pairs in order of time, true mean 0."""

    block: NDArray[np.int64]
    market: NDArray[np.int64]
    uplift: NDArray[np.float64]


def draw(scenario: Rare, rng: np.random.Generator) -> Pairs:
    """One experiment."""
    s = scenario
    block = np.repeat(np.arange(s.blocks), np.maximum(rng.poisson(PAIRS_PER_BLOCK, s.blocks), 1))
    market = rng.integers(0, s.markets, block.size)
    shocks = rng.normal(size=s.blocks)
    shocks[1:] *= np.sqrt(1 - s.phi**2)
    of_block = lfilter([1.0], [1.0, -s.phi], shocks)[block]
    common = np.sqrt(s.market) * rng.normal(size=s.markets)[market] + np.sqrt(s.block) * of_block
    spread = 0.1 * np.tanh(common + np.sqrt(1 - s.market - s.block) * rng.normal(size=block.size))
    match s.kind:
        case "spread":
            uplift = spread
        case "sign":
            positive = rng.random(block.size) < (1 + np.tanh(2 * common)) / 2
            uplift = np.where(rng.random(block.size) < s.rate, np.where(positive, 1.0, -1.0), 0.0)
        case "loss":
            # A log-normal rate of mean s.rate; one in ten thousand draws would pass 1 and is cut.
            odds = s.rate * np.exp(1.5 * common - 1.125 * (s.market + s.block))
            uplift = s.rate - (rng.random(block.size) < np.minimum(odds, 1.0))
        case "outage":
            uplift = _loses(spread, block, s, 0.5, rng)
        case "bad market":
            uplift = _loses(spread, market, s, 0.1, rng)
        case _:
            raise ValueError(f"kind is {s.kind!r}")
    return Pairs(block, market, uplift)


def _loses(
    spread: NDArray[np.float64], group: NDArray[np.int64], s: Rare, size: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    lost = rng.random(int(group.max()) + 1) < s.rate
    moved: NDArray[np.float64] = spread + np.where(lost[group], -size, size * s.rate / (1 - s.rate))
    return moved


class Outcome(NamedTuple):
    """One experiment."""

    false_alarm: dict[str, bool]
    width: dict[str, float]
    """Width of the interval at the end."""


def experiment(scenario: Rare, seed: np.random.SeedSequence) -> Outcome:
    """Draws one experiment and looks at it after every block."""
    pairs = draw(scenario, np.random.default_rng(seed))
    cells = from_pairs(*pairs)
    g = boundary.solve_g(planned_clusters(scenario.blocks, scenario.markets), ALPHA)
    two_way = interval_path(cells, alpha=ALPHA, g=g)
    hull = bounded_path(cells, bounds=(-1, 1), planned_blocks=scenario.blocks, alpha=ALPHA, g=g)
    n = np.bincount(pairs.block)
    y = (np.bincount(pairs.block, pairs.uplift) / n + 1) / 2
    bets = predictable_bets(y, planned_blocks=scenario.blocks, alpha=ALPHA)
    ends = betting_interval(y, bets, alpha=ALPHA)
    looks = {
        "two-way": (two_way.ready, two_way.ci_lower, two_way.ci_upper),
        "betting": (hull.ready, 2 * ends[0] - 1, 2 * ends[1] - 1),
        "hull": (hull.ready, hull.ci_lower, hull.ci_upper),
    }
    return Outcome(
        {name: bool((ready & ((low > 0) | (up < 0))).any()) for name, (ready, low, up) in looks.items()},
        {name: float(up[-1] - low[-1]) for name, (_, low, up) in looks.items()},
    )


HEAD = [
    "scenario",
    "blocks",
    "markets",
    "false: two-way",
    "betting",
    "hull",
    "width: two-way",
    "betting",
    "hull",
]


def row(scenario: Rare, outcomes: list[Outcome]) -> list[str]:
    """One line of the table."""
    names = list(outcomes[0].false_alarm)
    return [
        scenario.name + ("" if scenario.held else " (reported)"),
        str(scenario.blocks),
        str(scenario.markets),
        *(rate([outcome.false_alarm[name] for outcome in outcomes]) for name in names),
        *(f"{np.median([outcome.width[name] for outcome in outcomes]):.4f}" for name in names),
    ]


def false_rate(outcomes: list[Outcome], name: str = "hull") -> float:
    """Share of experiments called significant."""
    return float(np.mean([outcome.false_alarm[name] for outcome in outcomes]))


def allowed(experiments: int) -> float:
    """0.05 plus two Monte Carlo standard errors."""
    return ALPHA + 2 * float(np.sqrt(ALPHA * (1 - ALPHA) / experiments))


def main() -> int:
    """Prints the table; the exit status is 1 when the hull exceeds the figure."""
    chosen = options(__doc__, 1000)
    print(heading(HEAD), flush=True)
    results = []
    for scenario in SCENARIOS:
        outcomes = repeat(partial(experiment, scenario), chosen.experiments, chosen.seed, chosen.processes)
        print(line(row(scenario, outcomes)), flush=True)
        results.append((scenario, outcomes))
    limit = allowed(chosen.experiments)
    return int(any(scenario.held and false_rate(outcomes) > limit for scenario, outcomes in results))


if __name__ == "__main__":
    raise SystemExit(main())
