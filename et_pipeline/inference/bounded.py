"""`estimator: bounded`: an interval for metrics with hard bounds and rare outcomes.

Where an outcome is rare, the variance of the sample says nothing about outcomes that have not happened yet: an interval
computed from it calls up to half of the experiments with a true uplift of zero significant. The bounds of the metric
make up for this, in a betting confidence sequence: the hedged capital process of Waudby-Smith and Ramdas (2024),
"Estimating means of bounded random variables by betting", JRSS B 86, section 4. With block means scaled to y in [0, 1]
and bets

    λ⁺_t(m) = min(λ_t, c/m),   λ⁻_t(m) = min(λ_t, c/(1−m)),   λ_t = √(2·log(2/α) / (σ̂²_{t−1}·B))
    K⁺_t(m) = Π (1 + λ⁺_i(m)·(y_i − m)),   K⁻_t(m) = Π (1 − λ⁻_i(m)·(y_i − m))

(theorem 3; λ_t is their choice for a planned number B of observations), m is excluded once
max(K⁺, K⁻)/2 ≥ 1/α. K⁺ falls and K⁻ rises in m, so the values that are left form an interval.

That interval is valid if the mean of each block, given the past, is the mean uplift. This does not hold where markets
last over many blocks, nor where a shock does. The two-way interval is valid in exactly these cases, so the interval
here is the **hull of both**: a value is excluded only where both exclude it, and the e-value is the smaller one of the
two. It is valid wherever one of the two is. The two-way half has the boundary of the plan: the one over its horizon, or
the one that is valid for ever. The betting half is valid for ever in both cases.

Estimand: the two-way half estimates the mean over pairs, the betting half the mean over blocks, all with the same
weight. The two differ only where blocks with many pairs have another uplift than blocks with few; then the hull covers
both.

An interval is not intersected with the earlier ones of its path: as with every other estimator, the row at a block is
the interval of the data up to it, in whatever order they arrived. A verdict takes the first row that decides, so an
intersection would make no verdict earlier.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from et_pipeline.inference import twoway
from et_pipeline.inference.boundary import MAX_LOG_E
from et_pipeline.inference.cells import Cells, Floats, Ints, blocks_of

TRUNCATION = 0.75
"""c: the largest share of the capital that one bet may lose (Waudby-Smith and Ramdas use 1/2 or 3/4)."""
_GRID = 1024
_CHUNK = 512


def bounded_path(
    cells: Cells,
    *,
    bounds: tuple[float, float],
    planned_blocks: float,
    alpha: float,
    g: float,
    null: float = 0.0,
) -> twoway.IntervalPath:
    """Intervals of the mean uplift at every block end, for a metric whose uplift lies within bounds.

    The two-way half has the boundary that is valid for ever.

    Args:
        cells: Merged cells, see :func:`et_pipeline.inference.cells.merge`.
        bounds: Smallest and largest possible uplift of a pair (−1 and 1 for `fill_ratio`).
        planned_blocks: Number of blocks of the plan; the betting half is tuned to be narrowest after that many.
        alpha: Probability that the path ever misses the truth.
        g: Tuning of the two-way part, frozen at registration.
        null: The mean uplift the e- and p-values test (0, or minus a non-inferiority margin).

    Returns:
        The hull, see :func:`hull`; its p-value is one over its e-value.

    Raises:
        ValueError: When a mean or the null lies outside the bounds, or a number is out of its range.
    """
    path = hull(
        twoway.interval_path(cells, alpha=alpha, g=g, null=null),
        block_means(cells, bounds),
        bounds=bounds,
        planned_blocks=planned_blocks,
        alpha=alpha,
        null=null,
    )
    return path._replace(p_value=one_over(path.e_value))


def hull(
    path: twoway.IntervalPath,
    means: Floats,
    *,
    bounds: tuple[float, float],
    planned_blocks: float,
    alpha: float,
    null: float = 0.0,
) -> twoway.IntervalPath:
    """The hull of a two-way path (with any boundary) and of the betting half.

    Args:
        path: The two-way path of the cells, its ends at `alpha`.
        means: Each block's mean, see :func:`block_means`.
        bounds: Smallest and largest possible uplift of a pair.
        planned_blocks: Blocks the plan runs for.
        alpha: Probability that each half ever misses the truth.
        null: The mean uplift the e- and p-values test.

    Returns:
        The path with `ci_lower`, `ci_upper`, `e_value` and `p_value` of the hull; rows of `path` without an interval
        get none. `ready` does not require any spread here: where bounds are known, pairs that are all equal are
        evidence too.

    Raises:
        ValueError: When the null lies outside the bounds, or a number is out of its range.
    """
    low, high = bounds
    if not planned_blocks > 0:
        raise ValueError(f"planned_blocks is {planned_blocks}: allowed are positive numbers")
    if not low < null < high:
        raise ValueError(f"null is {null}: allowed are numbers between the bounds {low:g} and {high:g}")
    if len(means) == 0:
        return path
    bets = predictable_bets(means, planned_blocks=planned_blocks, alpha=alpha)
    lower, upper = betting_interval(means, bets, alpha=alpha)
    up, down = log_capital(means, bets, np.array([(null - low) / (high - low)]))
    log_betting = np.maximum(up, down)[:, 0] - np.log(2.0)
    betting = np.exp(np.minimum(log_betting, MAX_LOG_E))
    return path._replace(
        ci_lower=np.maximum(np.minimum(path.ci_lower, low + (high - low) * lower), low),
        ci_upper=np.minimum(np.maximum(path.ci_upper, low + (high - low) * upper), high),
        e_value=np.minimum(path.e_value, betting),
        p_value=np.maximum(path.p_value, one_over(betting)),
        ready=path.enough,
    )


def block_means(cells: Cells, bounds: tuple[float, float]) -> Floats:
    """The mean uplift of each block, as a share of the way from the lower to the upper bound.

    Args:
        cells: Merged cells.
        bounds: Smallest and largest possible uplift of a pair.

    Raises:
        ValueError: When a mean lies outside the bounds, or these are no bounds.
    """
    low, high = bounds
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"bounds are {bounds}: allowed are two finite numbers, the smaller first")
    first = blocks_of(cells.block).first
    if len(first) == 0:
        return np.zeros(0)
    slack = 1e-9 * (high - low)
    outside = (cells.mean < low - slack) | (cells.mean > high + slack)
    if outside.any():
        raise ValueError(
            f"a cell has mean uplift {cells.mean[outside][0]:g}: allowed is {low:g} to {high:g}, its bounds"
        )
    totals = np.add.reduceat(cells.n * (cells.mean - low), first) / (high - low)
    means: Floats = np.clip(totals / np.add.reduceat(cells.n, first), 0.0, 1.0)
    return means


def one_over(e_value: Floats) -> Floats:
    """The p-value of an e-value, min(1, 1/e)."""
    p: Floats = 1.0 / np.maximum(e_value, 1.0)
    return p


def predictable_bets(y: Floats, *, planned_blocks: float, alpha: float) -> Floats:
    """The bet λ_t on each observation, from the observations before it.

    σ̂²_t = (1/4 + Σ (y_i − μ̂_i)²)/(t + 1), μ̂_t = (1/2 + Σ y_i)/(t + 1) (Waudby-Smith and Ramdas, section 4).
    """
    t = np.arange(1, len(y) + 1)
    centre = (0.5 + np.cumsum(y)) / (t + 1)
    variance = (0.25 + np.cumsum((y - centre) ** 2)) / (t + 1)
    before = np.concatenate(([0.25], variance[:-1]))
    bets: Floats = np.sqrt(2.0 * np.log(2.0 / alpha) / (before * planned_blocks))
    return bets


def log_capital(y: Floats, bets: Floats, m: Floats) -> tuple[Floats, Floats]:
    """Logarithms of K⁺ and K⁻, observations × candidates m in (0, 1)."""
    deviation = y[:, None] - m
    up = np.log1p(np.minimum(bets[:, None], TRUNCATION / m) * deviation)
    down = np.log1p(-np.minimum(bets[:, None], TRUNCATION / (1.0 - m)) * deviation)
    return np.cumsum(up, axis=0), np.cumsum(down, axis=0)


def betting_interval(y: Floats, bets: Floats, *, alpha: float) -> tuple[Floats, Floats]:
    """The means that are not excluded after each observation: from the root of K⁺ = 2/α to that of K⁻ = 2/α.

    The capital is computed on a grid with steps of 1/1024, and its logarithm is interpolated linearly in between; the
    error is below 1e-6 of the range.
    """
    grid = np.arange(1, _GRID) / _GRID
    ends = np.empty((2, len(y)))
    carried = np.zeros((2, len(grid)))
    for start in range(0, len(y), _CHUNK):
        part = slice(start, start + _CHUNK)
        up, down = log_capital(y[part], bets[part], grid)
        up += carried[0]
        down += carried[1]
        carried = np.stack((up[-1], down[-1]))
        ends[0, part] = _last_excluded(up, grid, alpha)
        # K⁻ falls along the grid when the grid is reversed, as K⁺ does along the grid itself.
        ends[1, part] = 1.0 - _last_excluded(down[:, ::-1], grid, alpha)
    return ends[0], ends[1]


def _last_excluded(log_capital: Floats, grid: Floats, alpha: float) -> Floats:
    """The point where a capital that falls along the grid reaches 2/α; 0 where it is below that everywhere."""
    excess = log_capital - np.log(2.0 / alpha)
    last: Ints = (excess >= 0.0).sum(axis=1) - 1
    line = np.arange(len(excess))
    left, right = np.maximum(last, 0), np.minimum(last + 1, len(grid) - 1)
    above, below = excess[line, left], excess[line, right]
    inside: NDArray[np.bool_] = (last >= 0) & (left < right)
    share = np.divide(above, above - below, out=np.zeros(len(excess)), where=inside)
    end: Floats = np.where(last >= 0, grid[left] + share * (grid[right] - grid[left]), 0.0)
    return end
