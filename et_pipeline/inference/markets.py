"""The mean over markets: each pair counts by what is known of its market from earlier blocks.

A mean over pairs depends mostly on the markets with the most pairs. Where the uplift differs between markets by a
variance τ² and single pairs of a market by σ², a market of n pairs tells the mean over markets with the variance ``τ² +
σ²/n``, so its best weight is ``n/(1 + n·ρ)`` with ``ρ = τ²/σ²``, a pair's ``1/(1 + n·ρ)`` (the random-effects model of
DerSimonian & Laird 1986, "Meta-analysis in clinical trials", Controlled Clinical Trials 7). Large markets then count
nearly alike, small ones by their pairs.

Both are taken from what came before a pair's block: ρ by the method of moments of :mod:`et_pipeline.inference.arms`, n
as the pairs that the market will have at the end if it goes on as so far, where each market has one pair more than was
seen. What is known grows, and all weights shrink with it; so that the first blocks do not rule, a pair's weight is
taken relative to the mean weight that the pairs before it would have by now. A weight known beforehand biases no
difference that is the same everywhere, and the increments of the weighted sum stay unpredictable, so variance, boundary
and path are those of the mean over pairs.
"""

from __future__ import annotations

import numpy as np

from et_pipeline.inference.cells import Cells, Floats
from et_pipeline.inference.twoway import IntervalPath, interval_path, pilot_centre, running_moments

_CHUNK = 256


def market_path(cells: Cells, *, planned_blocks: int, alpha: float, g: float) -> IntervalPath:
    """Intervals of the mean uplift over markets at every block end.

    Args:
        cells: Merged cells.
        planned_blocks: Blocks the plan runs for.
        alpha: Probability that the path ever misses the truth.
        g: Tuning of the boundary.

    Returns:
        As :func:`twoway.interval_path`; `n_pairs` counts pairs, effective clusters are counted by weights.
    """
    weights = market_weights(cells, planned_blocks=planned_blocks)
    path = interval_path(cells._replace(n=cells.n * weights), alpha=alpha, g=g)
    last = np.searchsorted(cells.block, path.block, side="right") - 1
    return path._replace(n_pairs=np.rint(np.cumsum(cells.n)[last]).astype(np.int64))


def market_weights(cells: Cells, *, planned_blocks: int) -> Floats:
    """The weight of a pair of each cell, about 1 on average; 1 for all where markets differ by no more than chance.

    Args:
        cells: Merged cells.
        planned_blocks: Blocks the plan runs for.
    """
    if not len(cells.block):
        return np.ones(0)
    totals = np.column_stack((cells.n, cells.n * (cells.mean - pilot_centre(cells))))
    moments = running_moments(cells.block, cells.market, totals, lags=False)
    mean = moments.total[:, 1] / moments.total[:, 0]
    of_markets, of_cells = (
        (packed[:, 2] - 2 * mean * packed[:, 1] + mean**2 * packed[:, 0], packed[:, 0])
        for packed in (moments.squares.market, moments.squares.cell)
    )
    grown = of_markets[1] - of_cells[1]
    between = np.divide(of_markets[0] - of_cells[0], grown, out=np.zeros_like(grown), where=grown > 0)
    within = (of_cells[0] - between * of_cells[1]) / moments.total[:, 0]
    known = (between > 0) & (within > 0)
    ratio = np.divide(between, within, out=np.zeros_like(between), where=known)
    return _relative(cells, ratio, planned_blocks)


def _relative(cells: Cells, ratio: Floats, planned_blocks: int) -> Floats:
    """Each cell's weight over the mean weight of all earlier pairs, by what was known before its block.

    Args:
        cells: Merged cells.
        ratio: ρ after each block.
        planned_blocks: Blocks the plan runs for.
    """
    blocks, position = np.unique(cells.block, return_inverse=True)
    # Markets in the order in which they appear: then sums do not hang on markets that appear later.
    known, first, code = np.unique(cells.market, return_index=True, return_inverse=True)
    code = np.argsort(np.argsort(first))[code]
    weights = np.ones_like(cells.n)
    seen = np.zeros(len(known))
    for start in range(0, len(blocks), _CHUNK):
        rows = (position >= start) & (position < start + _CHUNK)
        length = min(_CHUNK, len(blocks) - start)
        grown = np.zeros((length, len(known)))
        np.add.at(grown, (position[rows] - start, code[rows]), cells.n[rows])
        before = seen + np.cumsum(grown, axis=0) - grown
        seen = seen + grown.sum(axis=0)
        elapsed = np.arange(start, start + length)[:, None]
        now = np.append(0.0, ratio)[elapsed]
        share = np.maximum(planned_blocks, elapsed) / np.maximum(elapsed, 1)
        single = 1 / (1 + now * (before + 1) * share)
        count, total = (np.cumsum(part, axis=1)[:, -1:] for part in (before, before * single))
        relative = np.divide(single * count, total, out=np.ones_like(single), where=total > 0)
        weights[rows] = relative[position[rows] - start, code[rows]]
    return weights
