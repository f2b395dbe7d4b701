"""By how much does serial correlation between blocks increase the variance of their sum?

Each block is correlated with the blocks before it. Clustering by market already includes the correlation within
one market over time. What a two-way variance lacks is the covariance of *different* markets in *different*
blocks (Thompson 2011, "Simple formulas for standard errors that cluster by both firm and time", eq. 13;
Chiang, Hansen & Sasaki 2024, "Standard errors for two-way clustering with serially correlated time
effects"). So the products within markets are subtracted here from the lagged products of block sums. Otherwise
short-lived markets with an effect of their own would be counted twice (intervals up to 50 % wider).

"Lag" counts blocks that have pairs. The variance of a sum over those blocks is the sum of their
covariances in that order, whatever gaps lie between (the equal-spacing estimator of Datta & Du 2012,
"Nonparametric HAC estimation for time series data with missing observations").
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from et_pipeline.inference.cells import Floats, Ints

LAGS = 21
"""Number of lags that are used. It is odd, since lags are taken in pairs, beginning with lag 0: (0,1), (2,3), …"""
HIGHEST_AUTOCORRELATION = 0.95
PLACES_A_CELL = 8
"""Markets × blocks are stored as a grid if at least one in this many places of the grid holds a cell."""
CELLS_AT_ONCE = 20_000
"""Without a grid, the number of cells whose pairs are listed at once; it limits the memory that is used."""
_SLOWEST_DECLINE = 0.9
"""Largest ratio of one pair of lags to the pair before it: that of φ = 0.95, see :data:`HIGHEST_AUTOCORRELATION`."""
_FEWEST_FOR_A_TAIL = 100.0
"""Number of blocks below which a slow decline over the lags is too often an accident of noise, and is not continued."""
_FEWEST_BLOCKS = 6.0


class Serial(NamedTuple):
    """One entry per block end."""

    autocorrelation: Floats
    """Bias-corrected lag-1 autocorrelation of block residual sums across markets, from 0 to 0.95."""
    factor: Floats
    """Factor by which the block variance is multiplied; at least 1."""
    block_clusters: Floats
    """Effective number of independent blocks, see :func:`effective_blocks`."""


def serial_factor(covariances: Floats, variance: Floats, blocks: Floats) -> Serial:
    """The variance factor ``1 + 2·Σ ρ_l`` from the sample autocorrelations, the larger of two estimates.

    1. AR(1) from lag 1: ``(1+a)/(1−a)``. It is right when a block consists of its shock alone. It is too small when
       the noise of single pairs hides the shock at lag 1 although it lasts over many lags.
    2. The initial monotone sequence (Geyer 1992, "Practical Markov chain Monte Carlo", sec. 3.3): sums of
       pairs of neighbouring lags, made decreasing, as long as they are above half their noise √(2/B). The lags after
       that are assumed to go on declining at the same rate (without this, 1500 blocks with a weak correlation over
       many lags made 6 % of true zeros significant, with it 4.5 %).

    Sample autocorrelations are too small, since the mean was estimated from the same blocks: by about
    ``(1+4a)/B`` at lag 1 (Marriott & Pope 1954) and by ``factor/B`` at any lag. Both are added back.

    The factor is itself uncertain, most of all with few blocks. So the number of blocks is divided by
    ``factor·(1 + 2.5/√B)``. Without this, looks at 15 to 20 blocks cause most of the false alarms.

    Args:
        covariances: summed lagged products at lags 1 to :data:`LAGS`, rows × lags.
        variance: summed squares of block residual sums, per row.
        blocks: effective number of blocks ``n²/Σ n_b²``, per row.
    """
    b = np.maximum(blocks, _FEWEST_BLOCKS)
    rho = np.divide(
        covariances, variance[:, None], out=np.zeros_like(covariances), where=variance[:, None] > 0
    )
    a = np.clip((b * rho[:, 0] + 1) / (b - 4), 0.0, HIGHEST_AUTOCORRELATION)
    monotone = np.ones_like(b)
    for bias in (0.0, 1.0, 1.0):
        lost = bias * np.minimum(monotone, b / 4) / b
        monotone = _initial_monotone_sequence(rho + lost[:, None], np.sqrt(0.5 / b))
    factor = np.maximum((1 + a) / (1 - a), monotone)
    return Serial(a, factor, effective_blocks(blocks, factor))


def effective_blocks(blocks: Floats, factor: Floats) -> Floats:
    """The number of independent blocks to which ``blocks`` are equivalent: ``B/(f·(1 + 2.5/√B))``.

    The bracket takes account of the uncertainty of the factor f itself.
    """
    effective: Floats = blocks / (factor * (1 + 2.5 / np.sqrt(np.maximum(blocks, _FEWEST_BLOCKS))))
    return effective


def degrees_of_blocks(blocks: Floats, factor: Floats) -> Floats:
    """The number of independent blocks whose variance would be known as precisely: ``B/(1.4·f²)``.

    The factor f is estimated from the same blocks, and the longer the correlation lasts, the less precise it is. On the
    scenarios of ``make simulate`` the spread of the standard error, as 1/(2·s²) with s the standard deviation of
    its logarithm, is that of about 5 blocks for 60 with φ = 0.6 (factor 3 to 4), of 11 to 20 for 300 with φ = 0.8
    (factor 5 to 7), and of 50 to 60 for 1500 with φ = 0.8.
    """
    degrees: Floats = blocks / (1.4 * factor**2)
    return degrees


def _initial_monotone_sequence(rho: Floats, noise: Floats) -> Floats:
    pairs = np.column_stack((1 + rho[:, 0], rho[:, 1::2] + rho[:, 2::2]))
    kept = pairs > noise[:, None]
    kept[:, 0] = pairs[:, 0] > 0
    kept = np.logical_and.accumulate(kept, axis=1)
    pairs = np.minimum.accumulate(np.where(kept, pairs, 0.0), axis=1)
    enough = noise <= np.sqrt(0.5 / _FEWEST_FOR_A_TAIL)
    total: Floats = pairs.sum(axis=1) + np.where(enough, _tail(pairs, kept.sum(axis=1)), 0.0)
    return np.maximum(2 * total - 1, 1.0)


def _tail(pairs: Floats, kept: Ints) -> Floats:
    """The sum of the lags after the pairs that are kept: a geometric series with the rate at which those decline.

    The first pair contains the 1 of lag 0, so it says nothing about the rate. With fewer than three other pairs nothing
    is added, since so few may be above the noise by accident.
    """
    known = kept >= 4
    second = np.where(known, pairs[:, 1], 1.0)
    last = np.where(known, pairs[np.arange(len(pairs)), np.maximum(kept - 1, 0)], 0.0)
    ratio = np.minimum((last / second) ** (1 / np.maximum(kept - 2, 1)), _SLOWEST_DECLINE)
    return np.asarray(last * ratio / (1 - ratio))


def cross_market_products(position: Ints, market: Ints, totals: Floats, n_blocks: int) -> Floats:
    """Products of blocks with earlier ones, of different markets only, lag by lag.

    Args:
        position: which of the blocks (0, 1, …) each cell lies in.
        market: cells' markets as numbers 0, 1, …; cells are sorted by market, then position.
        totals: cells × k centred totals.
        n_blocks: number of blocks.

    Returns:
        lags × blocks × packed products, see :func:`products`.
    """
    block = sum_by(position, totals, n_blocks)
    lagged = np.zeros((LAGS, n_blocks, _packed(totals.shape[1])))
    for lag in range(1, min(LAGS, n_blocks - 1) + 1):
        lagged[lag - 1, lag:] = products(block[lag:], block[:-lag])
    crowded = len(position) * PLACES_A_CELL >= n_blocks * (market.max(initial=-1) + 1)
    within = within_grid if crowded else within_list
    apart: Floats = lagged - within(position, market, totals, n_blocks)
    return apart


def within_grid(position: Ints, market: Ints, totals: Floats, n_blocks: int) -> Floats:
    """Products of blocks with earlier ones within each market, for cells that fill most of markets × blocks.

    The result is the same to the last bit as that of :func:`within_list`, so that a path does not depend on which of
    them is used: both add up market by market.

    Args:
        position: which of the blocks (0, 1, …) each cell lies in.
        market: cells' markets as numbers 0, 1, …; cells are sorted by market, then position.
        totals: cells × k centred totals.
        n_blocks: number of blocks.

    Returns:
        lags × blocks × packed products.
    """
    k = totals.shape[1]
    # One column more than there are blocks: numpy would add up a single column in another order.
    grid = np.zeros((k, market.max(initial=-1) + 1, n_blocks + 1))
    grid[:, market, position] = totals.T
    within = np.zeros((LAGS, n_blocks, _packed(k)))
    product, other = np.empty((2, *grid.shape[1:]))
    for lag in range(1, min(LAGS, n_blocks - 1) + 1):
        one, two = product[:, lag:], other[:, lag:]
        for packed, (i, j) in enumerate(lower_triangle(k)):
            np.multiply(grid[i, :, lag:], grid[j, :, :-lag], out=one)
            if i != j:
                one += np.multiply(grid[j, :, lag:], grid[i, :, :-lag], out=two)
            summed = np.add.reduce(one, axis=0)[:-1]
            within[lag - 1, lag:, packed] = summed if i == j else summed / 2
    return within


def within_list(position: Ints, market: Ints, totals: Floats, n_blocks: int) -> Floats:
    """The same as :func:`within_grid`, but computed from a list of pairs of cells, for markets that last few blocks."""
    k = totals.shape[1]
    within = np.zeros((LAGS, n_blocks, _packed(k)))
    steps = np.arange(1, LAGS + 1)
    for first in range(0, len(position), CELLS_AT_ONCE):
        later = np.arange(first, min(first + CELLS_AT_ONCE, len(position)))[:, None]
        earlier = np.maximum(later - steps, 0)
        gap = position[later] - position[earlier]
        near = (market[later] == market[earlier]) & (gap <= LAGS) & (later >= steps)
        row, _ = np.nonzero(near)
        lag, now, then = gap[near] - 1, later[row, 0], earlier[near]
        product = products(totals[now], totals[then])
        for packed in range(product.shape[1]):
            np.add.at(within[:, :, packed], (lag, position[now]), product[:, packed])
    return within


@cache
def lower_triangle(k: int) -> list[tuple[int, int]]:
    """Row and column of each packed product of k totals. It is cached, since one path calls it some seventy times."""
    return [(i, j) for i in range(k) for j in range(i + 1)]


def _packed(k: int) -> int:
    return k * (k + 1) // 2


def products(left: Floats, right: Floats) -> Floats:
    """Rows of symmetrised products (left·rightᵀ + right·leftᵀ)/2, the lower triangle packed."""
    pairs = lower_triangle(left.shape[1])
    packed = np.empty(
        (len(left), len(pairs)), order="F"
    )  # column by column, since each column is summed later
    for column, (i, j) in zip(packed.T, pairs, strict=True):
        np.multiply(left[:, i], right[:, j], out=column)
        if i != j:
            np.add(column, left[:, j] * right[:, i], out=column)
            np.divide(column, 2, out=column)
    return packed


def sum_by(group: Ints, columns: Floats, groups: int) -> Floats:
    """Column sums within each of ``groups`` groups."""
    sums = np.empty((groups, columns.shape[1]))
    for i, column in enumerate(columns.T):
        sums[:, i] = np.bincount(group, weights=column, minlength=groups)
    return sums
