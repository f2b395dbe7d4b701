"""Does the drift detector keep its run length when pairs cluster, and how soon does it see a fall?

``python -m et_pipeline_tests.statistics.drift_simulation [--experiments N] [--seed S] [--processes P]`` prints
a Markdown table. Three feeds of the same e-SR detector are compared: the two-way evidence of every stretch
(the pipeline's), bets on block means, bets on the means of closed markets (Shin, Ramdas and Rinaldo 2022,
section 4, a mixture of fixed bets).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from et_pipeline.inference.cells import from_pairs
from et_pipeline.inference.drift import drift_path
from et_pipeline_tests.statistics.parallel import heading, line, options, rate, repeat
from et_pipeline_tests.statistics.scenarios import Sample, Scenario, draw

ALPHA = 0.01
"""Run length of at least 100 blocks."""
ERROR = 0.05
"""Probability of a false alarm in a whole experiment; the threshold is then blocks/ERROR."""
FALL = 0.5
"""Size of the fall, in standard deviations of a pair, half-way through the experiment."""
LIMIT = 2.0
"""Bets need bounds: ±2 standard deviations of a pair, a scale in their favour. With a metric's own bounds,
hundreds of standard deviations apart, they win nothing from any fall."""
BETS = 0.95 * 2.0 ** -np.arange(10)

SCENARIOS = [
    Scenario("independent pairs", 400, 300, 6000),
    Scenario("30 markets with effects", 400, 30, 6000, market_sd=0.5),
    Scenario("300 markets with effects", 400, 300, 6000, market_sd=0.5),
    Scenario("short-lived markets with effects", 400, 300, 6000, market_sd=0.7, lifetime=20),
    Scenario("block shocks", 400, 100, 6000, block_sd=0.5),
    Scenario("both, t(3)", 400, 100, 6000, "t3", market_sd=0.3, block_sd=0.3),
    Scenario("both, lognormal", 400, 100, 6000, "lognormal", market_sd=0.3, block_sd=0.3),
    Scenario("block shocks, φ = 0.3", 400, 100, 6000, market_sd=0.2, block_sd=0.4, phi=0.3),
    Scenario("block shocks, φ = 0.6", 400, 100, 6000, market_sd=0.2, block_sd=0.4, phi=0.6),
]


def bets(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """log M of the recursion M ← (1 + M)·L, averaged over bets on means below 0."""
    y = np.clip(means / LIMIT, -1.0, 1.0)
    m, path = np.zeros(len(BETS)), np.empty(len(y))
    for t, value in enumerate(y):
        m = (1.0 + m) * (1.0 - BETS * value)
        path[t] = np.log(m.mean())
    return path


def by_block(sample: Sample, blocks: int) -> NDArray[np.float64]:
    """Bets on block means; blocks without pairs leave M as it is."""
    n = np.bincount(sample.block, minlength=blocks)
    seen = n > 0
    path = bets(np.bincount(sample.block, sample.uplift, blocks)[seen] / n[seen])
    return np.concatenate(([-np.inf], path))[np.cumsum(seen)]


def by_closed_market(sample: Sample, blocks: int) -> NDArray[np.float64]:
    """Bets on the mean of each market once its last pair has been seen; silent while markets last."""
    size = int(sample.market.max()) + 1
    n = np.bincount(sample.market, minlength=size)
    last = np.full(size, -1)
    np.maximum.at(last, sample.market, sample.block)
    closed = np.flatnonzero((n > 0) & (last < blocks - 1))
    closed = closed[np.argsort(last[closed], kind="stable")]
    path = bets(np.bincount(sample.market, sample.uplift, size)[closed] / n[closed])
    known = np.searchsorted(last[closed], np.arange(blocks), side="right")
    return np.concatenate(([-np.inf], path))[known]


class Outcome(NamedTuple):
    """One experiment without a fall, and the same pairs with one."""

    run_length: dict[str, int]
    """Blocks until M reaches 1/ALPHA; the experiment's length when it never does."""
    false_alarm: dict[str, bool]
    """Whether M ever reaches blocks/ERROR."""
    delay: float
    """Blocks from the fall to the alarm at blocks/ERROR; infinite without one, NaN when it came before."""
    onset_error: float
    """Estimated onset less the true one, in blocks."""


def experiment(scenario: Scenario, seed: np.random.SeedSequence) -> Outcome:
    """Draws one experiment and runs every detector over it."""
    sample, blocks = draw(scenario, np.random.default_rng(seed)), scenario.blocks
    still = drift_path(from_pairs(sample.block, sample.market, sample.uplift), alpha=ERROR / blocks)
    two_way = np.full(blocks, -np.inf)
    two_way[still.block] = still.log_m
    paths = {
        "two-way": two_way,
        "blocks": by_block(sample, blocks),
        "closed markets": by_closed_market(sample, blocks),
    }
    fall = blocks // 2
    lowered = sample.uplift - FALL * (sample.block >= fall)
    moved = drift_path(from_pairs(sample.block, sample.market, lowered), alpha=ERROR / blocks)
    alarm = moved.first_alarm()
    at = np.inf if alarm is None else float(moved.block[alarm])
    seen = fall <= at < np.inf
    return Outcome(
        {name: _first(path >= -np.log(ALPHA), blocks) for name, path in paths.items()},
        {name: bool((path >= np.log(blocks / ERROR)).any()) for name, path in paths.items()},
        at - fall + 1.0 if at >= fall else np.nan,
        float(moved.since[alarm] - fall) if alarm is not None and seen else np.nan,
    )


def _first(hits: NDArray[np.bool_], otherwise: int) -> int:
    return int(np.argmax(hits)) + 1 if hits.any() else otherwise


def row(scenario: Scenario, outcomes: list[Outcome]) -> list[str]:
    """One line of the table."""
    cells = [scenario.name]
    for name in outcomes[0].run_length:
        lengths = np.array([outcome.run_length[name] for outcome in outcomes])
        cells.append(f"{lengths.mean():.0f} ± {lengths.std() / np.sqrt(len(lengths)):.0f}")
    cells += [rate([outcome.false_alarm[name] for outcome in outcomes]) for name in ("two-way", "blocks")]
    later = [outcome.delay for outcome in outcomes if not np.isnan(outcome.delay)]
    delay = float(np.quantile(later, 0.5, method="lower")) if later else np.inf
    onset = [abs(outcome.onset_error) for outcome in outcomes if not np.isnan(outcome.onset_error)]
    return [
        *cells,
        f"{delay:.0f}" if np.isfinite(delay) else "not seen",
        f"{np.isfinite(later).mean():.2f}" if later else "",
        f"{np.median(onset):.0f}" if onset else "",
    ]


HEAD = ["scenario", "run length: two-way", "blocks", "closed markets", "false alarm: two-way", "blocks"]
HEAD += ["delay", "seen", "onset off by"]


def main() -> int:
    """Prints the table; the exit status is 1 when the pipeline's detector is below its run length."""
    chosen = options(__doc__, 200)
    print(heading(HEAD), flush=True)
    results = []
    for scenario in SCENARIOS:
        outcomes = repeat(partial(experiment, scenario), chosen.experiments, chosen.seed, chosen.processes)
        print(line(row(scenario, outcomes)), flush=True)
        results.append((scenario, outcomes))
    lengths = [np.mean([outcome.run_length["two-way"] for outcome in outcomes]) for _, outcomes in results]
    return int(min(lengths) < 1.0 / ALPHA)


if __name__ == "__main__":
    raise SystemExit(main())
