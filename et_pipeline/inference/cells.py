"""Sufficient statistics of the uplift per (block, market) cell.

A cell keeps ``n``, the mean and the sum of squared deviations from it (``m2``), so that cells merge
without the loss of digits that ``sum of squares - sum² / n`` has when values are large and close to each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Cells(NamedTuple):
    """One entry per (block, market), sorted by block, then market."""

    block: Ints
    """Start of the time block, microseconds since the epoch (UTC)."""
    market: Ints
    """Code of the market."""
    n: Floats
    """Number of pairs."""
    mean: Floats
    """Mean uplift."""
    m2: Floats
    """Sum of squared deviations from the mean."""

    def up_to(self, block: int) -> Cells:
        """The cells of blocks that start at or before ``block``."""
        return self.part(0, int(np.searchsorted(self.block, block, side="right")))

    def part(self, first: int, end: int) -> Cells:
        """The cells of these rows."""
        rows = slice(first, end)
        return Cells(self.block[rows], self.market[rows], self.n[rows], self.mean[rows], self.m2[rows])


class Blocks(NamedTuple):
    """The blocks of rows that stand in order of time."""

    start: Ints
    """Start of each block."""
    first: Ints
    """Its first row."""
    position: Ints
    """For each row, which of the blocks (0, 1, …) it lies in."""


def blocks_of(block: Ints) -> Blocks:
    """The blocks of ascending block starts: what ``numpy.unique`` finds, without putting them in order again."""
    opens = opens_of(block)
    first = np.flatnonzero(opens)
    return Blocks(block[first], first, np.cumsum(opens) - 1)


def opens_of(ordered: Ints) -> NDArray[np.bool_]:
    """Which rows of an ordered column are not equal to the row before."""
    opens = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=opens[1:])
    return opens


def from_pairs(block: ArrayLike, market: ArrayLike, uplift: ArrayLike) -> Cells:
    """Cells of single pairs.

    Args:
        block: start of each pair's block, microseconds since the epoch.
        market: code of each pair's market.
        uplift: variant minus control, positive is good for the variant.

    Raises:
        ValueError: when an uplift is not finite or lengths differ.
    """
    uplift = np.asarray(uplift, dtype=np.float64)
    return merge(as_cells(block, market, np.ones(len(uplift)), uplift, np.zeros(len(uplift))))


def as_cells(block: ArrayLike, market: ArrayLike, n: ArrayLike, mean: ArrayLike, m2: ArrayLike) -> Cells:
    """Checks columns and converts them to :class:`Cells`; it neither sorts nor merges them.

    Args:
        block: Start of each cell's block, microseconds since the epoch.
        market: Code of each cell's market.
        n: Number of pairs of each cell, above 0.
        mean: Mean uplift of each cell.
        m2: Sum of squared deviations from it.

    Raises:
        ValueError: when a count is not positive, a value not finite, or lengths differ.
    """
    cells = Cells(
        np.asarray(block, dtype=np.int64),
        np.asarray(market, dtype=np.int64),
        *(np.asarray(column, dtype=np.float64) for column in (n, mean, m2)),
    )
    if len({column.shape for column in cells}) != 1 or cells.block.ndim != 1:
        raise ValueError(f"cells need columns of one length, got {[column.shape for column in cells]}")
    if not (np.all(cells.n > 0) and np.isfinite(cells.n).all()):
        raise ValueError("every cell needs a positive, finite number of pairs")
    if not (np.isfinite(cells.mean).all() and np.isfinite(cells.m2).all()):
        raise ValueError("every cell needs a finite mean and m2")
    return cells


def merge(*parts: Cells) -> Cells:
    """Merges cells of any order and grouping into one entry per (block, market).

    The pairwise update of Chan, Golub & LeVeque (1983, "Algorithms for computing the sample variance",
    eq. 2.1), for any number of parts at once. Deviations are taken from one value of the same cell, so that they are
    as small as the spread of the values and not as large as the values themselves.

    Example:
        >>> merge(from_pairs([0, 0], [7, 7], [1.0, 2.0]), from_pairs([0, 5], [7, 7], [6.0, 4.0]))._asdict()
        ... # doctest: +NORMALIZE_WHITESPACE
        {'block': array([0, 5]), 'market': array([7, 7]), 'n': array([3., 1.]),
         'mean': array([3., 4.]), 'm2': array([14.,  0.])}
    """
    if not parts:
        return as_cells([], [], [], [], [])
    block, market, n, mean, m2 = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    if len(block) == 0:
        return Cells(block, market, n, mean, m2)
    order = np.lexsort((market, block))
    block, market, n, mean, m2 = (column[order] for column in (block, market, n, mean, m2))
    new = np.concatenate(([True], (np.diff(block) != 0) | (np.diff(market) != 0)))
    start = np.flatnonzero(new)
    cell = np.cumsum(new) - 1
    total = np.add.reduceat(n, start)
    pilot = mean[start]
    shift = np.add.reduceat(n * (mean - pilot[cell]), start) / total
    centre = pilot + shift
    # (mean - pilot) - shift instead of mean - centre: `centre` is as large as the values, so its rounding error would
    # be large beside a small spread.
    spread = np.add.reduceat(m2 + n * ((mean - pilot[cell]) - shift[cell]) ** 2, start)
    return Cells(block[start], market[start], total, centre, spread)
