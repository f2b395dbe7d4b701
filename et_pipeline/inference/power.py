"""How many pairs and how much time does a plan need, with the boundary that is valid for ever (the mixture)?

The model is the one of :mod:`et_pipeline.inference.diagnostics`: pairs of one market have correlation
`within_market`, pairs of one block `within_block`. After B blocks of `pairs_per_block` pairs, with M markets
seen, N = B·pairs_per_block pairs, the two-way standard error is (Cameron, Gelbach and Miller 2011, for equal
clusters)

    se² = sd²·(within_market/M + (within_block/B + (1 − within_market − within_block)/N)·f)

with f = (1+a)/(1−a)·(1 + 1.6/√B) the serial factor of the blocks (the bracket is what its estimate, which is
never below 1, adds on average; measured for 40 to 640 blocks), and t the effective clusters, the smaller of M
and :func:`serial.effective_blocks`. An uplift is decided when the interval's end passes the null:
|mean − null| above `boundary.radius(se, t)`. The studentised mean then follows a noncentral t distribution
with t − 1 degrees of freedom and noncentrality (uplift − null)/se, which gives the probability at one look.
That estimated standard errors vary makes it a little smaller, and earlier looks make it larger by more than that:
simulated plans that were sized for 80 % are decided in 81 to 85 % (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import nctdtr, nctdtrinc

from et_pipeline.inference import boundary
from et_pipeline.inference.serial import degrees_of_blocks, effective_blocks
from et_pipeline.inference.twoway import MIN_CLUSTERS

TARGET = 0.8
"""The probability of a decision for which a plan is sized."""
ESTIMATED_FACTOR = 1.6
"""By how much the estimated serial factor exceeds the true one on average: by this number over the root of the number
of blocks, as a share of the true factor."""
_MOST_BLOCKS = 1e7


class Assumptions(NamedTuple):
    """What a plan assumes about a metric and the traffic; `diagnose` measures most of these numbers."""

    sd: float
    """Standard deviation of single pairs' uplift, in the metric's unit."""
    within_market: float
    """Correlation of two pairs of one market, 0 to 1."""
    within_block: float
    """Correlation of two pairs of one block, 0 to 1."""
    pairs_per_block: float
    """Pairs per time block."""
    markets: float
    """Effective number of markets that are traded at the same time, `n²/Σ n_c²`: fewer than their count where a few
    have most of the pairs."""
    market_life: float = np.inf
    """Number of blocks after which all markets have been replaced by new ones; infinite where markets stay."""
    block_autocorrelation: float = 0.0
    """Lag-1 autocorrelation of the blocks, 0 to below 1."""

    def checked(self) -> Assumptions:
        """Returns these assumptions unchanged if all numbers are allowed.

        Raises:
            ValueError: When a number is outside its range; the message names it.
        """
        _check(self)
        return self

    def in_longer_blocks(self) -> Assumptions:
        """The same traffic in blocks twice as long, where neighbouring blocks are an AR(1)."""
        a = self.block_autocorrelation
        return self._replace(
            within_block=self.within_block * (1 + a) / 2,
            pairs_per_block=2 * self.pairs_per_block,
            market_life=self.market_life / 2,
            block_autocorrelation=a * (1 + a) / 2,
        )

    def at_split(self, of: float, to: float) -> Assumptions:
        """The same traffic where another share of it goes to the variant and all trades of both arms are compared.

        A "pair" is then a trade of the smaller arm. Let q be that arm's share of n trades, and σ² the variance of
        single trades within market and block. Then σ² contributes σ²/(n·q·(1 − q)) to the variance of the difference of
        the arms' means, so its part of `sd²` is σ²/(1 − q). How the uplift itself differs between markets and between
        blocks does not depend on the split.

        Args:
            of: Share of the variant that these assumptions are of, above 0 and below 1.
            to: The other share.
        """
        before, after = min(of, 1.0 - of), min(to, 1.0 - to)
        own = (1.0 - self.within_market - self.within_block) * (1.0 - before) / (1.0 - after)
        whole = own + self.within_market + self.within_block
        return self._replace(
            sd=self.sd * float(np.sqrt(whole)),
            within_market=self.within_market / whole,
            within_block=self.within_block / whole,
            pairs_per_block=self.pairs_per_block * after / before,
        )

    def pairs(self, blocks: float) -> float:
        """Pairs after so many blocks."""
        return blocks * self.pairs_per_block

    def clusters(self, blocks: float) -> float:
        """Effective clusters after so many blocks."""
        of_blocks = effective_blocks(np.array(float(blocks)), np.array(self._serial_factor(blocks)))
        return min(self.markets_seen(blocks), float(of_blocks))

    def standard_error(self, blocks: float) -> float:
        """Two-way, serially robust standard error after so many blocks, in the metric's unit."""
        alone = (1.0 - self.within_market - self.within_block) / self.pairs(blocks)
        of_blocks = (self.within_block / blocks + alone) * self._serial_factor(blocks)
        return float(self.sd * np.sqrt(self.within_market / self.markets_seen(blocks) + of_blocks))

    def degrees(self, blocks: float) -> float:
        """Degrees of freedom of that standard error at a plan's looks, see `serial.degrees_of_blocks`."""
        of_blocks = degrees_of_blocks(np.array(float(blocks)), np.array(self._serial_factor(blocks)))
        return max(min(self.markets_seen(blocks), float(of_blocks)) - 1.0, 1.0)

    def markets_seen(self, blocks: float) -> float:
        """Markets after so many blocks."""
        return min(self.markets * max(1.0, blocks / self.market_life), self.pairs(blocks))

    def _serial_factor(self, blocks: float) -> float:
        a = self.block_autocorrelation
        return float((1.0 + a) / (1.0 - a) * (1.0 + ESTIMATED_FACTOR / np.sqrt(blocks)))


class Power(NamedTuple):
    """What a plan can decide."""

    pairs_needed: float
    """Pairs after which the uplift is decided with the target probability; infinite when never."""
    blocks_needed: float
    """Time blocks until these pairs are reached; infinite when never."""
    probability_at_plan: float
    """Probability that the uplift is decided at the planned size."""
    smallest_uplift: float
    """Smallest uplift decided with the target probability at the planned size; infinite when none is."""
    planned_blocks: float
    """Blocks the planned pairs take."""
    clusters_at_plan: float
    """Effective clusters at the planned size; below 10 nothing is concluded."""
    se_at_plan: float
    """Standard error at the planned size, in the metric's unit."""
    radius_at_plan: float
    """Half width of the interval at the planned size, in the metric's unit."""


def power(
    assumptions: Assumptions,
    *,
    uplift: float,
    planned_pairs: float,
    alpha: float,
    g: float | None = None,
    null: float = 0.0,
    min_pairs: float = 0.0,
    target: float = TARGET,
) -> Power:
    """Computes what a plan can decide.

    Args:
        assumptions: The metric's spread and correlations, and the traffic.
        uplift: True mean uplift to be decided, in the metric's unit.
        planned_pairs: The plan's size.
        alpha: Probability of ever being wrong.
        g: Tuning of the boundary; by default the one that a plan of this size gets.
        null: The value that the interval has to exclude: 0, or minus a non-inferiority margin.
        min_pairs: Pairs below which the plan concludes nothing (`min_samples_for_decision`).
        target: The required probability of a decision.

    Raises:
        ValueError: When a number is outside its range; the message names it.

    Example:
        >>> hourly = Assumptions(sd=20, within_market=0.05, within_block=0.05, pairs_per_block=20, markets=40,
        ...                      market_life=24)
        >>> sized = power(hourly, uplift=1.0, planned_pairs=10_000, alpha=0.05)
        >>> [round(x, 2) for x in (sized.probability_at_plan, sized.pairs_needed, sized.smallest_uplift)]
        [0.51, 15897.0, 1.26]
    """
    _check(assumptions, planned_pairs, target)
    planned_blocks = planned_pairs / assumptions.pairs_per_block
    if g is None:
        g = boundary.solve_g(max(assumptions.clusters(planned_blocks), 2.0), alpha)
    decides = _decision_probability(assumptions, abs(uplift - null), alpha, g, min_pairs)
    blocks = _first_reaching(decides, target)
    clusters, se = assumptions.clusters(planned_blocks), assumptions.standard_error(planned_blocks)
    radius = float(boundary.radius(se, clusters, alpha, g))
    concludes = clusters >= MIN_CLUSTERS and planned_pairs >= min_pairs and np.isfinite(radius)
    return Power(
        pairs_needed=float(np.ceil(assumptions.pairs(blocks))),
        blocks_needed=blocks,
        probability_at_plan=decides(planned_blocks),
        smallest_uplift=float(se * nctdtrinc(clusters - 1.0, 1.0 - target, radius / se))
        if concludes
        else np.inf,
        planned_blocks=planned_blocks,
        clusters_at_plan=clusters,
        se_at_plan=se,
        radius_at_plan=radius,
    )


def further_pairs(
    mean: float,
    se: float,
    clusters: float,
    n_pairs: float,
    *,
    alpha: float,
    g: float,
    null: float = 0.0,
    equivalence_margin: float | None = None,
    min_pairs: float = 0.0,
) -> float:
    """Further pairs that are needed until a decision, if mean and spread stay as they are.

    The standard error is assumed to fall with the square root of the number of pairs, and clusters to grow in
    proportion to it. There is a decision when an end of the interval passes the null, or, with a margin, when the whole
    interval lies within it; the earlier of these counts.

    Args:
        mean: Present estimate.
        se: Its standard error.
        clusters: Effective clusters.
        n_pairs: Pairs so far.
        alpha: Probability of ever being wrong.
        g: Tuning of the boundary.
        null: 0, or minus a non-inferiority margin.
        equivalence_margin: The plan's margin of equivalence; None where it has none.
        min_pairs: Pairs below which the plan concludes nothing.

    Returns:
        0 when decided now, infinite when the mean lies on the null (and outside the margin), NaN when there
        is no standard error yet.
    """
    if not (np.isfinite(mean) and np.isfinite(se) and clusters > 0 and n_pairs > 0):
        return float("nan")
    room = abs(mean - null)
    if equivalence_margin is not None:
        room = max(room, equivalence_margin - abs(mean))

    def decided(factor: float) -> bool:
        radius = boundary.radius(se / np.sqrt(factor), clusters * factor, alpha, g)
        return bool(radius < room and clusters * factor >= MIN_CLUSTERS and n_pairs * factor >= min_pairs)

    factor = _first_reaching(lambda f: float(decided(f)), 1.0, start=1.0)
    return max(0.0, float(np.ceil(n_pairs * (factor - 1.0) - 1e-6)))


def _decision_probability(
    assumptions: Assumptions, distance: float, alpha: float, g: float, min_pairs: float
) -> Callable[[float], float]:
    """Probability that the interval after so many blocks excludes the null, on the uplift's side."""

    def probability(blocks: float) -> float:
        clusters, se = assumptions.clusters(blocks), assumptions.standard_error(blocks)
        if clusters < MIN_CLUSTERS or assumptions.pairs(blocks) < min_pairs:
            return 0.0
        score = float(boundary.radius(se, clusters, alpha, g)) / se
        return float(1.0 - nctdtr(clusters - 1.0, distance / se, score)) if np.isfinite(score) else 0.0

    return probability


def _first_reaching(value: Callable[[float], float], target: float, start: float = 2.0) -> float:
    """Smallest argument from `start` at which a rising function reaches the target; infinite past 1e7."""
    low, high = start, start
    while value(high) < target:
        low, high = high, high * 2.0
        if high > _MOST_BLOCKS:
            return float("inf")
    if high == start:
        return start
    while high - low > 1e-6 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if value(middle) >= target else (middle, high)
    return high


def _check(assumptions: Assumptions, planned_pairs: float = 1.0, target: float = TARGET) -> None:
    a = assumptions
    ranges = (
        ("sd", 0 < a.sd < np.inf, "positive, finite numbers"),
        ("within_market", 0 <= a.within_market <= 1, "0 to 1"),
        ("within_block", 0 <= a.within_block <= 1 - a.within_market, "0 to 1 − within_market"),
        ("pairs_per_block", 0 < a.pairs_per_block < np.inf, "positive, finite numbers"),
        ("markets", 1 <= a.markets < np.inf, "finite numbers from 1"),
        ("market_life", a.market_life > 0, "positive numbers"),
        ("block_autocorrelation", 0 <= a.block_autocorrelation < 1, "0 to below 1"),
    )
    for name, fits, allowed in ranges:
        if not fits:
            raise ValueError(f"{name} is {getattr(a, name)}: allowed are {allowed}")
    if not planned_pairs > 0:
        raise ValueError(f"planned_pairs is {planned_pairs}: allowed are positive numbers")
    if not 0 < target < 1:
        raise ValueError(f"target is {target}: allowed are numbers between 0 and 1")
