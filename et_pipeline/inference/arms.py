"""Two arms without pairs: all trades of both arms are compared, adjusted by what the control did before.

Where the traffic is split at random, the difference of the arms' means needs no pairs. Its cells are those of a
ratio metric (Σ value and number of trades of each arm per block and market), so the estimate, its two-way and
serially robust variance and its boundary are those of :mod:`et_pipeline.inference.ratio`.

This module adds the adjustment. From every value of a cell, in both arms, it subtracts a prediction: the level of the
market and of the hour of the day, computed from the control's trades in earlier blocks alone. A prediction that was
known before a trade has the same expectation in both arms, so the difference stays unbiased and its increments stay
unpredictable. Differences between markets and between hours are then no longer part of the noise (regression adjustment
with coefficients from the past, as in Lindon, Ham, Tingley & Bojinov 2022, "Anytime-valid linear models and regression
adjusted causal inference in randomized experiments", arXiv 2210.08589). Where no market differs from the others, the
prediction is the same everywhere, and the adjusted difference is the unadjusted one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from et_pipeline.inference.cells import Floats, Ints, blocks_of
from et_pipeline.inference.ratio import RatioCells
from et_pipeline.inference.serial import sum_by
from et_pipeline.inference.twoway import running_moments

HOUR = 3_600_000_000
"""One hour, in microseconds."""
DAY = 24 * HOUR


def adjusted(cells: RatioCells, *, control: int = 1) -> RatioCells:
    """The cells after subtraction of what the control's earlier blocks predict of each arm's numerator.

    Args:
        cells: merged cells.
        control: which of the arms is the control, 0 or 1.
    """
    numerator, denominator = cells.totals[:, 2 * control], cells.totals[:, 2 * control + 1]
    expected = predicted(cells.block, cells.market, numerator, denominator)
    totals = cells.totals.copy()
    totals[:, ::2] -= expected[:, None] * totals[:, 1::2]
    return cells._replace(totals=totals)


class Spread(NamedTuple):
    """The variance components of the difference of two arms' means, as if each trade of the smaller arm were a pair.

    Attributes:
        sd: Standard deviation of one such pair: after n of them, the variance of the difference would be `sd²/n` if
            all were independent.
        within_market: Share of `sd²` that comes from an uplift that differs between markets.
        within_block: Share that comes from one that differs between blocks.
    """

    sd: float
    within_market: float
    within_block: float


def spread(cells: RatioCells, *, control: int = 1) -> Spread | None:
    """The components of the variance, by the method of moments.

    Let uₖ be what cell k adds to the difference of ratios (the term of the delta method), and wₖ its share of the
    variant's denominator. In expectation Σ uₖ² is `c/n + (a + b)·Σ wₖ²`; the products of different cells of one market
    add up to `a` times the products of their wₖ, those of one block to `b` times theirs. Here a and b are the variances
    of the uplift between markets and between blocks, and c is the variance of single trades. A component below 0 is
    noise around 0.

    Args:
        cells: merged cells; with the adjusted totals where the verdict is based on these.
        control: which of the arms is the control, 0 or 1.

    Returns:
        None where an arm has no trade, or nothing varies.
    """
    (numerators, denominators) = cells.totals[:, ::2], cells.totals[:, 1::2]
    sums = denominators.sum(axis=0)
    if not (sums > 0).all():
        return None
    residuals = (numerators - numerators.sum(axis=0) / sums * denominators) / sums
    terms = np.column_stack(
        (residuals[:, 0] - residuals[:, 1], denominators[:, 1 - control] / sums[1 - control])
    )
    own, own_weight = (terms**2).sum(axis=0)
    between = []
    for group in (cells.market, cells.block):
        _, place = np.unique(group, return_inverse=True)
        squares, weights = (sum_by(place, terms, place.max() + 1) ** 2).sum(axis=0)
        shared = weights - own_weight
        between.append(max(0.0, (squares - own) / shared) if shared > 0 else 0.0)
    alone = max(0.0, cells.n.sum(axis=0).min() * (own - sum(between) * own_weight))
    variance = alone + sum(between)
    if not variance > 0:
        return None
    return Spread(float(np.sqrt(variance)), *(float(part / variance) for part in between))


def predicted(block: Ints, market: Ints, numerator: Floats, denominator: Floats) -> Floats:
    """The ratio that earlier blocks predict for each cell: first by its market, then by its hour of the day.

    Args:
        block: cells' block starts, ascending, microseconds since the epoch.
        market: cells' markets.
        numerator: cells' numerators.
        denominator: cells' denominators, not negative.
    """
    level = shrunken_ratio(block, market, numerator, denominator)
    starts, _, position = blocks_of(block)
    left = sum_by(position, np.column_stack((numerator - level * denominator, denominator)), len(starts))
    hour: Floats = shrunken_ratio(starts, starts % DAY // HOUR, *left.T)[position]
    return level + hour


def shrunken_ratio(block: Ints, group: Ints, numerator: Floats, denominator: Floats) -> Floats:
    """Prediction of each row's ratio from earlier blocks: its group's ratio, shrunk towards the ratio of all groups.

    A group's own ratio has the weight ``w = N/(N + σ²/τ²)``, where N is its denominator so far, σ² the variance of one
    unit of the denominator and τ² the variance between groups (the best linear prediction in a random-effects model,
    Robinson 1991, "That BLUP is a good thing", Statistical Science 6). Both variances are estimated from the same
    earlier blocks by the method of moments: the squares of cells add up to ``N·σ² + Σ n_cell²·τ²`` in expectation,
        those of groups to ``N·σ² + Σ n_group²·τ²``. Where groups differ by no more than chance, τ² is 0 and all have
        the same prediction.

    Rows of the first block with a positive denominator, and any before it, are predicted by that block's own
    ratio. This constant is subtracted from all rows of both arms, so it does not change their difference.

    Args:
        block: rows' block starts, ascending.
        group: rows' groups.
        numerator: rows' numerators; at most one row per block and group.
        denominator: rows' denominators, not negative.
    """
    totals = np.column_stack((denominator, numerator))
    if not denominator.any():
        return np.zeros(len(block))
    first = block == block[np.flatnonzero(denominator)[0]]
    pilot = float(totals[first, 1].sum() / totals[first, 0].sum())
    totals[:, 1] -= pilot * totals[:, 0]  # so that sums of squares lose no digits
    moments = running_moments(block, group, totals, lags=False)
    position = blocks_of(block).position

    mean = _ratio(moments.total[:, 1], moments.total[:, 0])
    of_groups, of_cells = (
        (packed[:, 2] - 2 * mean * packed[:, 1] + mean**2 * packed[:, 0], packed[:, 0])
        for packed in (moments.squares.market, moments.squares.cell)
    )
    between = _ratio(of_groups[0] - of_cells[0], of_groups[1] - of_cells[1])
    within = _ratio(of_cells[0] - between * of_cells[1], moments.total[:, 0])
    noise = np.where(between > 0, _ratio(np.maximum(within, 0.0), between), np.inf)

    own = _before(group, totals)
    # What is known after the block before each row's block; before the first block nothing is known.
    general, noise = (
        np.append(unknown, state)[position] for unknown, state in ((0.0, mean), (np.inf, noise))
    )
    weight = _ratio(own[:, 0], own[:, 0] + noise)
    prediction: Floats = pilot + general + weight * (_ratio(own[:, 1], own[:, 0]) - general)
    return prediction


def _before(group: Ints, totals: Floats) -> Floats:
    """Totals of each row's group in the rows before it."""
    found = np.zeros_like(totals)
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        found[rows[1:]] = np.cumsum(totals[rows[:-1]], axis=0)
    return found


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """The quotient, 0 where there is nothing to divide by."""
    found: Floats = np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
    return found
