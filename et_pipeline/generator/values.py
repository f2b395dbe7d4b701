"""Metric values of both arms, correlated within markets and within time blocks, with exact means."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from et_pipeline.generator.opportunities import Ints, Opportunities
from et_pipeline.generator.scenario import (
    CONTROL_MEAN,
    FOLLOWING,
    NEEDS_A_FILL,
    PRICE,
    Scenario,
    variant_full,
    variant_mean,
)

Floats = NDArray[np.float64]
Noise = Callable[[int], Floats]
Arm = dict[str, Floats]

TAIL_LIMIT = 100.0
"""Limit of heavy-tailed noise, in standard deviations. It keeps values within bounds; it is symmetric, so the mean does
not change."""

CONTROL_SD = {"edge_bps": 20.0, "slippage_bps": 3.0, "toxicity_bps": 8.0}
DIFFERENCE_SD = {"edge_bps": 12.0, "slippage_bps": 1.5, "toxicity_bps": 4.0}
LOG_LATENCY_SD, LOG_LATENCY_DIFFERENCE_SD = 0.8, 0.25
LOG_SIZE_SD = 0.8
FILL_ARM_CORRELATION = 0.8
IN_BURST = 0.6
"""Share of the control's own noise that is the same within a burst; because of it, nearest matching reduces noise."""


class Effects:
    """Draws values with mean 0 and variance 1 that are correlated within a market and within a block."""

    def __init__(
        self, scenario: Scenario, found: Opportunities, block: Ints, rng: np.random.Generator
    ) -> None:
        """`block` is the number of each opportunity's time block, from 0 in time order."""
        self._market, self._burst, self._block, self._rng = found.market, found.burst, block, rng
        self._markets, self._blocks, self._ar = scenario.markets, int(block.max()) + 1, scenario.block_ar
        own = max(0.0, 1 - scenario.market_correlation - scenario.block_correlation)
        self._weights = np.sqrt((scenario.market_correlation, scenario.block_correlation, own))

    def draw(self, noise: Noise, in_burst: float = 0.0) -> Floats:
        """One value per opportunity: market effect, AR(1) block effect and own noise, unit variance.

        `in_burst` is the share of the own noise that is the same within a burst.
        """
        by_market, by_block, own = self._weights
        market = self._rng.standard_normal(self._markets)[self._market]
        shocks = self._rng.standard_normal(self._blocks)
        shocks[1:] *= np.sqrt(1 - self._ar**2)
        path = np.fromiter(accumulate(shocks, lambda last, shock: self._ar * last + shock), np.float64)
        rest = noise(len(self._market))
        if in_burst:
            burst = noise(int(self._burst.max()) + 1)[self._burst]
            rest = np.sqrt(in_burst) * burst + np.sqrt(1 - in_burst) * rest
        values: Floats = by_market * market + by_block * path[self._block] + own * rest
        return values

    def normal(self, in_burst: float = 0.0) -> Floats:
        """Values with an exactly standard normal distribution."""
        return self.draw(self._rng.standard_normal, in_burst)

    def heavy(self, in_burst: float = 0.0) -> Floats:
        """Values with Student t(4) noise."""
        limit = TAIL_LIMIT
        return self.draw(lambda n: np.clip(self._rng.standard_t(4, n) / np.sqrt(2), -limit, limit), in_burst)

    def skewed(self, in_burst: float = 0.0) -> Floats:
        """Values whose noise has a long upper tail (a centred exponential)."""
        return self.draw(lambda n: self._rng.standard_exponential(n) - 1, in_burst)


def draw_values(
    scenario: Scenario, found: Opportunities, block: Ints, rng: np.random.Generator
) -> tuple[Arm, Arm]:
    """Values of every metric, for the control and for the variant, at every opportunity.

    Values of both arms are drawn for every opportunity. Which of them are reported is decided later and independently
    of the values, so the mean over the reported ones is exact too. An unfilled order earns an edge of 0 and has no
    slippage, latency or toxicity (NaN here).

    Returns:
        Two maps (control, variant) from metric to an array as long as the opportunities.
    """
    effects = Effects(scenario, found, block, rng)
    control, variant = _fills(scenario, effects)
    for name in ("edge_bps", "slippage_bps", "toxicity_bps"):
        draw = effects.skewed if name == "slippage_bps" else effects.heavy
        mean, other = CONTROL_MEAN[name], variant_mean(scenario, name)
        control[name] = mean + CONTROL_SD[name] * draw(IN_BURST)
        difference_sd = scenario.noise * DIFFERENCE_SD[name]
        variant[name] = control[name] + (other - mean) + difference_sd * effects.heavy()
    _latencies(scenario, effects, control, variant)
    for arm in (control, variant):
        unfilled = arm["fill_ratio"] == 0
        arm["edge_bps"][unfilled] = 0.0
        for name in NEEDS_A_FILL:
            arm[name][unfilled] = np.nan
    _sizes(scenario, effects, control, variant)
    return control, variant


def _fills(scenario: Scenario, effects: Effects) -> tuple[Arm, Arm]:
    """Fill ratios by a Gaussian copula: correlated between arms, markets and blocks, with exact distributions."""
    one = effects.normal(IN_BURST)
    r = FILL_ARM_CORRELATION
    two = r * one + np.sqrt(1 - r**2) * effects.normal()
    return (
        {"fill_ratio": _fill_ratio(ndtr(one), scenario.control_unfilled, scenario.control_full)},
        {"fill_ratio": _fill_ratio(ndtr(two), scenario.variant_unfilled, variant_full(scenario))},
    )


def _fill_ratio(u: Floats, unfilled: float, full: float) -> Floats:
    """Quantile function of fill ratios: 0, then uniform on (0, 1), then 1. Its limits are symmetric, so the mean is
    exact."""
    partial = max(1 - unfilled - full, 1e-300)
    ratio = np.clip(np.round((u - unfilled) / partial, 4), 0.0001, 0.9999)
    ratio[u < unfilled] = 0.0
    ratio[u >= 1 - full] = 1.0
    return ratio


def _latencies(scenario: Scenario, effects: Effects, control: Arm, variant: Arm) -> None:
    """Lognormal latencies; the variant's is the control's times a lognormal factor with a given mean."""
    mean, sd = CONTROL_MEAN["latency_ms"], LOG_LATENCY_SD
    tau = scenario.noise * LOG_LATENCY_DIFFERENCE_SD
    factor = variant_mean(scenario, "latency_ms") / mean
    control["latency_ms"] = mean * np.exp(sd * effects.normal(IN_BURST) - sd**2 / 2)
    variant["latency_ms"] = control["latency_ms"] * factor * np.exp(tau * effects.normal() - tau**2 / 2)


def _sizes(scenario: Scenario, effects: Effects, control: Arm, variant: Arm) -> None:
    """Asked sizes are lognormal and independent of the fill ratio, so the mean filled size is exact."""
    if not {"asked_size", *FOLLOWING} & set(scenario.metrics):
        return
    mean, sd = CONTROL_MEAN["asked_size"], LOG_SIZE_SD
    control["asked_size"] = mean * np.exp(sd * effects.normal(IN_BURST) - sd**2 / 2)
    variant["asked_size"] = control["asked_size"] * (variant_mean(scenario, "asked_size") / mean)
    for arm in (control, variant):
        arm["filled_size"] = arm["asked_size"] * arm["fill_ratio"]
        arm["notional_usd"] = PRICE * arm["filled_size"]
        arm["pnl_usd"] = arm["edge_bps"] / 10_000 * arm["notional_usd"]
