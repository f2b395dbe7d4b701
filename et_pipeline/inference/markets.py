"""The mean over markets: each pair counts by what is known of its market from earlier blocks.

A mean over pairs depends mostly on the markets with the most pairs. Where the uplift differs between markets by a
variance τ² and single pairs of a market by σ², a market of n pairs tells the mean over markets with the variance ``τ² +
σ²/n``, so its best weight is ``n/(1 + n·ρ)`` with ``ρ = τ²/σ²``, a pair's ``1/(1 + n·ρ)`` (the random-effects model of
DerSimonian & Laird 1986, "Meta-analysis in clinical trials", Controlled Clinical Trials 7). Large markets then count
nearly alike, small ones by their pairs.

Of a ratio metric, and where all trades of both arms are compared, the same weight multiplies what a cell adds to the
totals of both arms. A market's size is then its share of what the arms divide by (trades, or sizes), on average over
both arms, and what it tells of the uplift is the delta method's term of its totals. One weight for both arms keeps
markets in the same proportions in both; so a market in which only one arm trades, of which nothing can be compared,
has a say in that arm's level alone, and no larger one than any other market.

Both are taken from what came before a pair's block: ρ by the method of moments of :mod:`et_pipeline.inference.arms`, n
as the pairs that the market will have at the end if it goes on as so far, where each market has one pair more than was
seen. What is known grows, and all weights shrink with it; so that the first blocks do not rule, a pair's weight is
taken relative to the mean weight that the pairs before it would have by now. A weight known beforehand biases no
difference that is the same everywhere, and the increments of the weighted sum stay unpredictable, so variance, boundary
and path are those of the estimator without weights.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np

from et_pipeline.inference.cells import Cells, Floats, Ints, blocks_of
from et_pipeline.inference.ratio import RatioCells, difference_of, ratio_path
from et_pipeline.inference.twoway import Estimate, IntervalPath, interval_path, mean_of, quadratic, variance

_CHUNK = 256
AnyCells = TypeVar("AnyCells", bound=Cells | RatioCells)


def market_path(
    cells: Cells | RatioCells, *, planned_blocks: int, alpha: float, g: float, by_size: bool = False
) -> IntervalPath:
    """Intervals of the mean uplift over markets at every block end.

    Args:
        cells: Merged cells; of a ratio metric, or of all trades of both arms, those of `inference.ratio`.
        planned_blocks: Blocks the plan runs for.
        alpha: Probability that the path ever misses the truth.
        g: Tuning of the boundary.
        by_size: As in :func:`ratio.ratio_path`.

    Returns:
        As :func:`twoway.interval_path`; `n_pairs` counts pairs, effective clusters are counted by weights.
    """
    if isinstance(cells, RatioCells):
        found = weighted(cells, planned_blocks=planned_blocks)
        path = ratio_path(found, alpha=alpha, g=g, by_size=by_size)
    else:
        path = interval_path(weighted(cells, planned_blocks=planned_blocks), alpha=alpha, g=g)
    last = np.searchsorted(cells.block, path.block, side="right") - 1
    counted = np.cumsum(_columns(cells.n), axis=0)[last].min(axis=1)
    return path._replace(n_pairs=np.rint(counted).astype(np.int64))


def weighted(cells: AnyCells, *, planned_blocks: int) -> AnyCells:
    """The cells, each pair of them counted by its weight.

    Args:
        cells: Merged cells.
        planned_blocks: Blocks the plan runs for.
    """
    weights = market_weights(cells, planned_blocks=planned_blocks)
    if isinstance(cells, RatioCells):
        n = (_columns(cells.n) * weights[:, None]).reshape(cells.n.shape)
        return cells._replace(n=n, totals=cells.totals * weights[:, None])
    return cells._replace(n=cells.n * weights)


class Known(NamedTuple):
    """What was known of the markets before the first of some cells."""

    blocks: int = 0
    """Blocks before."""
    market: Ints = np.zeros(0, dtype=np.int64)
    """Markets in them, in the order in which they appeared."""
    sizes: Floats = np.zeros(0)
    """What each arm divides by there; arms × markets, or a number for each market."""


def market_weights(cells: Cells | RatioCells, *, planned_blocks: int) -> Floats:
    """The weight of a pair of each cell, about 1 on average; 1 for all where markets differ by no more than chance.

    Args:
        cells: Merged cells.
        planned_blocks: Blocks the plan runs for.
    """
    if not len(cells.block):
        return np.ones(0)
    estimate = (
        difference_of(cells, lags=False) if isinstance(cells, RatioCells) else mean_of(cells, lags=False)
    )
    return weights_by(estimate, cells, planned_blocks, Known())


def weights_by(estimate: Estimate, cells: Cells | RatioCells, planned_blocks: int, known: Known) -> Floats:
    """The same for the cells of a sample from a block on.

    Args:
        estimate: The estimate from the whole sample.
        cells: Its cells from that block on.
        planned_blocks: Blocks the plan runs for.
        known: What was known before that block.
    """
    moments, _, _, gradient = estimate
    if isinstance(cells, RatioCells):
        sizes, place = cells.totals[:, 1::2], slice(-2, None)
    else:
        sizes, place = cells.n[:, None], slice(0, 1)
    # A cell's share of what the arms divide by: its derivatives by the totals.
    arms = sizes.shape[1]
    whole, share = moments.total[:, place], np.zeros_like(gradient)
    share[:, place] = np.divide(1 / arms, whole, out=np.zeros_like(whole), where=whole > 0)
    of_markets, of_cells = (
        (variance(packed, gradient), quadratic(packed, share))
        for packed in (moments.squares.market, moments.squares.cell)
    )
    grown = of_markets[1] - of_cells[1]
    between = np.divide(of_markets[0] - of_cells[0], grown, out=np.zeros_like(grown), where=grown > 0)
    within = of_cells[0] - between * of_cells[1]
    tell = (between > 0) & (within > 0)
    ratio = np.divide(between, within, out=np.zeros_like(between), where=tell)
    single = 1 / moments.total[:, : _columns(cells.n).shape[1]].min(axis=1).clip(1)
    return _relative(cells, sizes, share[:, place], single, ratio, planned_blocks, known)


def _relative(
    cells: Cells | RatioCells,
    sizes: Floats,
    share: Floats,
    single: Floats,
    ratio: Floats,
    planned_blocks: int,
    known: Known,
) -> Floats:
    """Each cell's weight over the mean weight of all earlier pairs, by what was known before its block.

    Args:
        cells: Merged cells.
        sizes: What the arms divide by, cells × arms.
        share: Share of the sample that one unit of it is after each block, blocks × arms.
        single: Share of the sample that one pair is.
        ratio: Variance of the uplift between markets over the variance that the sample's mean has without it.
        planned_blocks: Blocks the plan runs for.
        known: What was known before the first of the cells.
    """
    blocks, _, position = blocks_of(cells.block)
    # Markets in the order in which they appear: then sums do not hang on markets that appear later.
    names = np.concatenate((known.market, cells.market))
    found, first, code = np.unique(names, return_index=True, return_inverse=True)
    code = np.argsort(np.argsort(first))[code][len(known.market) :]
    share, single, ratio = (np.concatenate((column[:1] * 0, column)) for column in (share, single, ratio))
    weights = np.ones(len(cells.block))
    seen = np.zeros((sizes.shape[1], len(found)))
    seen[:, : len(known.market)] = known.sizes
    for start in range(0, len(blocks), _CHUNK):
        rows = (position >= start) & (position < start + _CHUNK)
        length = min(_CHUNK, len(blocks) - start)
        elapsed = known.blocks + np.arange(start, start + length)[:, None]
        of_market = np.zeros((length, len(found)))
        for arm in range(len(seen)):
            grown = np.zeros_like(of_market)
            np.add.at(grown, (position[rows] - start, code[rows]), sizes[rows, arm])
            of_market += share[elapsed, arm] * (seen[arm] + np.cumsum(grown, axis=0) - grown)
            seen[arm] += grown.sum(axis=0)
        time = np.maximum(planned_blocks, elapsed) / np.maximum(elapsed, 1)
        weight = 1 / (1 + ratio[elapsed] * (of_market + single[elapsed]) * time)
        count, total = (np.cumsum(part, axis=1)[:, -1:] for part in (of_market, of_market * weight))
        relative = np.divide(weight * count, total, out=np.ones_like(weight), where=total > 0)
        weights[rows] = relative[position[rows] - start, code[rows]]
    return weights


def _columns(n: Floats) -> Floats:
    """Numbers of observations with a column for each sample."""
    return n.reshape(len(n), -1)
