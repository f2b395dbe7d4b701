"""Ratio metrics: Σ numerator / Σ denominator of the variant minus that of the control.

For instance filled size over asked size, where a mean of single ratios would give very small orders too much weight. By
the delta method the difference behaves as a sum of each cluster's totals times the gradient of the difference. So the
variance, the correction for serial correlation and the boundary are those of the mean (Deng, Knoblich & Lu 2018,
"Applying the delta method in metric analytics", KDD, arXiv 1803.06336).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from et_pipeline.inference.cells import Floats, Ints
from et_pipeline.inference.serial import sum_by
from et_pipeline.inference.twoway import Estimate, IntervalPath, path_of, running_moments

_SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
"""Signs with which ratios are added: the first two for a difference, all four for a difference of two differences."""


class RatioCells(NamedTuple):
    """One entry per (block, market), sorted by block, then market."""

    block: Ints
    market: Ints
    n: Floats
    """Number of pairs; where each arm has a sample of its own, cells × 2: trades of the first and second arm."""
    totals: Floats
    """Cells × 4: numerator and denominator of the variant, numerator and denominator of the control. Cells × 8 where
    two such differences are compared, the second one's columns after the first one's."""

    def part(self, start: int, stop: int) -> RatioCells:
        """Cells start to stop − 1."""
        rows = slice(start, stop)
        return RatioCells(self.block[rows], self.market[rows], self.n[rows], self.totals[rows])


def from_pairs(block: ArrayLike, market: ArrayLike, variant: ArrayLike, control: ArrayLike) -> RatioCells:
    """Cells of single pairs.

    Args:
        block: start of each pair's block, microseconds since the epoch.
        market: code of each pair's market.
        variant: pairs × 2, numerator and denominator of the variant.
        control: pairs × 2, numerator and denominator of the control.

    Raises:
        ValueError: when a number is not finite or a denominator negative.
    """
    totals = np.hstack((np.asarray(variant, dtype=np.float64), np.asarray(control, dtype=np.float64)))
    if not np.isfinite(totals).all() or (totals[:, 1::2] < 0).any():
        raise ValueError("numerators and denominators must be finite, denominators not negative")
    blocks, markets = np.asarray(block, dtype=np.int64), np.asarray(market, dtype=np.int64)
    return merge(RatioCells(blocks, markets, np.ones(len(totals)), totals))


def merge(*parts: RatioCells) -> RatioCells:
    """Merges cells of any order and grouping into one entry per (block, market)."""
    block, market, n, totals = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    keys, cell = np.unique(np.column_stack((block, market)), axis=0, return_inverse=True)
    sums = sum_by(cell.ravel(), np.column_stack((n, totals)), len(keys))
    return RatioCells(keys[:, 0], keys[:, 1], sums[:, :-4].reshape(len(keys), *n.shape[1:]), sums[:, -4:])


def ratio_path(
    cells: RatioCells, *, alpha: float, g: float, null: float = 0.0, by_size: bool = False
) -> IntervalPath:
    """Intervals of the difference of ratios, or of the difference of two such differences, at every block end.

    Until all denominators are above zero there is no estimate: its mean is NaN, the interval infinite.

    Args:
        cells: merged cells.
        alpha: probability that the path ever misses the truth.
        g: tuning of the boundary, frozen at registration.
        null: the difference that the e- and p-values test.
        by_size: whether denominators are sizes by which values are weighted. Then effective clusters are computed
            from these sizes too, since a few large trades may make up most of the estimate.
    """
    estimate = difference_of(cells)
    every, ratios = estimate.gradient.shape[1], cells.totals.shape[1] // 2
    return path_of(
        *estimate,
        alpha=alpha,
        g=g,
        null=null,
        samples=every - 2 * ratios,
        sizes=tuple(range(every - ratios, every)) if by_size else (),
    )


def difference_of(cells: RatioCells, *, lags: bool = True) -> Estimate:
    """The difference of ratios; its totals are the numbers of observations, then numerators, then denominators.

    Args:
        cells: merged cells.
        lags: as in :func:`twoway.running_moments`.
    """
    numerators, centre = centred(cells)
    ratios = numerators.shape[1]
    totals = np.column_stack((cells.n, numerators, cells.totals[:, 1::2]))
    moments = running_moments(cells.block, cells.market, totals, lags=lags)
    samples = totals.shape[1] - 2 * ratios
    shift, slopes = difference(
        moments.total[:, samples : samples + ratios], moments.total[:, samples + ratios :]
    )
    return Estimate(moments, centre, shift, np.column_stack((np.zeros((len(shift), samples)), slopes)))


def centred(cells: RatioCells) -> tuple[Floats, float]:
    """Numerators minus denominators times the first block's ratio of the arm, and the difference of these ratios.

    The ratios are taken from the first block alone, see `twoway.pilot_centre`.
    """
    first = cells.totals[cells.block == cells.block[:1]].sum(axis=0)
    pilot = np.divide(first[::2], first[1::2], out=np.zeros(len(first) // 2), where=first[1::2] > 0)
    return cells.totals[:, ::2] - pilot * cells.totals[:, 1::2], float(_SIGNS[: len(pilot)] @ pilot)


def difference(numerator: Floats, denominator: Floats) -> tuple[Floats, Floats]:
    """The difference of two ratios, or of two such differences, and its derivatives by numerators and denominators.

    Args:
        numerator: rows × 2, or rows × 4.
        denominator: of the same shape; in rows where one is not above zero, all results are NaN.
    """
    denominator = np.where(denominator > 0, denominator, np.nan)
    ratio, signs = numerator / denominator, _SIGNS[: numerator.shape[1]]
    slope = signs / denominator
    return ratio @ signs, np.column_stack((slope, -ratio * slope))
