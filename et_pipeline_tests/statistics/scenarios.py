"""Experiments with a known truth: pairs are correlated within markets and within blocks, and blocks are
autocorrelated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter


class Scenario(NamedTuple):
    """How pairs come about. Single pairs have a standard deviation of 1."""

    name: str
    blocks: int
    markets: int
    pairs: int
    noise: str = "normal"
    zipf: bool = False
    market_sd: float = 0.0
    block_sd: float = 0.0
    phi: float = 0.0
    """AR(1) coefficient of the block shocks."""
    lifetime: int = 0
    """Blocks that a market lives; 0 is for ever."""
    held: bool = True
    """Whether the false-significance rate is held to the figure or only reported."""

    @property
    def shares(self) -> NDArray[np.float64]:
        """Expected share of pairs per market."""
        weight = 1 / np.arange(1, self.markets + 1) if self.zipf else np.ones(self.markets)
        return weight / weight.sum()

    @property
    def markets_in_effect(self) -> float:
        """Effective number of markets, 1/Σ share²."""
        return 1 / float(np.sum(self.shares**2))


class Sample(NamedTuple):
    """Pairs in order of time, the true uplift being 0."""

    block: NDArray[np.int64]
    market: NDArray[np.int64]
    uplift: NDArray[np.float64]
    true_se: float
    """Standard deviation of the mean uplift, given which pairs fell where."""


def draw(scenario: Scenario, rng: np.random.Generator) -> Sample:
    """One experiment."""
    market = rng.choice(scenario.markets, size=scenario.pairs, p=scenario.shares)
    if scenario.lifetime:
        opens = rng.integers(0, scenario.blocks - scenario.lifetime + 1, scenario.markets)
        block = opens[market] + rng.integers(0, scenario.lifetime, scenario.pairs)
        order = np.argsort(block, kind="stable")
        block, market = block[order], market[order]
    else:
        block = np.sort(rng.integers(0, scenario.blocks, scenario.pairs))
    shocks = rng.normal(size=scenario.blocks)
    shocks[1:] *= np.sqrt(1 - scenario.phi**2)
    shock = lfilter([1.0], [1.0, -scenario.phi], shocks)
    effect = rng.normal(size=scenario.markets)
    uplift = _noise(scenario.noise, scenario.pairs, rng)
    uplift = uplift + scenario.market_sd * effect[market] + scenario.block_sd * shock[block]
    in_market = np.bincount(market, minlength=scenario.markets) / scenario.pairs
    in_block = np.bincount(block, minlength=scenario.blocks) / scenario.pairs
    remembered = 2 * in_block @ lfilter([1.0], [1.0, -scenario.phi], in_block) - in_block @ in_block
    variance = 1 / scenario.pairs + scenario.market_sd**2 * (in_market @ in_market)
    return Sample(block, market, uplift, float(np.sqrt(variance + scenario.block_sd**2 * remembered)))


def _noise(kind: str, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    match kind:
        case "normal":
            return rng.normal(size=size)
        case "t3":
            return rng.standard_t(3, size=size) / np.sqrt(3)
        case "lognormal":  # variance of a standard lognormal: (e − 1)·e
            return (rng.lognormal(size=size) - rng.lognormal(size=size)) / np.sqrt(2 * (np.e - 1) * np.e)
        case "skewed":
            return (rng.lognormal(size=size) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
        case _:
            raise ValueError(f"noise is {kind!r}, allowed: normal, t3, lognormal, skewed")


SCENARIOS = [
    Scenario("independent pairs, few blocks", 30, 100, 1500),
    Scenario("independent pairs", 300, 300, 3000),
    Scenario("independent pairs, many blocks", 1500, 3000, 6000),
    Scenario("t(3)", 300, 300, 3000, "t3"),
    Scenario("lognormal differences", 300, 300, 3000, "lognormal"),
    Scenario("20 markets with effects", 300, 20, 3000, market_sd=0.5),
    Scenario("100 markets with effects", 300, 100, 3000, market_sd=0.5),
    Scenario("3000 markets with effects", 300, 3000, 6000, market_sd=0.5),
    Scenario("Zipf 300 markets with effects", 300, 300, 3000, zipf=True, market_sd=0.3),
    Scenario("Zipf 3000 markets, t(3)", 1500, 3000, 6000, "t3", zipf=True, market_sd=0.3),
    Scenario("short-lived markets with effects", 300, 200, 3000, market_sd=1.0, lifetime=20),
    Scenario("block shocks, 30 blocks", 30, 100, 1500, block_sd=0.5),
    Scenario("block shocks", 300, 100, 3000, block_sd=0.5),
    Scenario("strong block shocks", 300, 100, 3000, block_sd=1.5),
    Scenario("shocks and effects, lognormal", 300, 100, 3000, "lognormal", market_sd=0.4, block_sd=0.5),
    Scenario("shocks and effects, t(3), 20 markets", 300, 20, 3000, "t3", market_sd=0.3, block_sd=0.5),
    *(
        Scenario(
            f"φ = {phi}, {strength} shocks, {blocks} blocks", blocks, markets, pairs,
            market_sd=0.2, block_sd=sd, phi=phi, held=phi < 0.8 or blocks >= 300,
        )
        for phi in (0.3, 0.6, 0.8)
        for blocks, markets, pairs in ((60, 200, 1500), (300, 20, 3000), (1500, 200, 4500))
        for strength, sd in (("weak", 0.4), ("strong", 1.5))
    ),
    Scenario("skewed lognormal, 30 blocks", 30, 100, 1500, "skewed", block_sd=0.5, held=False),
]  # fmt: skip
"""Every scenario of the design's first figure."""
