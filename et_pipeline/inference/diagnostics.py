"""Describes a sample: correlations, autocorrelation of blocks and the influence of one market, from cells alone.

The model behind the numbers is the crossed random-effects model

    uplift of a pair = mean + market effect + block effect + (market, block) effect + pair noise

and its variance components are estimated by the method of moments. A "couple" is any two pairs; the estimates are the
average products of the deviations of all couples that share only a market, only a block, or both. The average of the
couples that share nothing is subtracted; it is not 0, since deviations are taken from the estimated mean and so add up
to 0. This is the analysis-of-covariance-components idea of Henderson (1953), "Estimation of
variance and covariance components", Biometrics 9, in the product-of-couples form of Goldstein, Browne and
Rasbash (2002). The sums of products are computed from sums of squares of totals: couples of one market and different
blocks contribute `Σ_market S² − Σ_cell S²`, and so on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from et_pipeline.inference.cells import Cells, Floats
from et_pipeline.inference.course import Course, course_of
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION


class Diagnostics(NamedTuple):
    """Figures that describe the whole sample; those that cannot be estimated yet are NaN."""

    n_pairs: int
    """Pairs in all cells."""
    n_markets: int
    """Markets with at least one pair."""
    n_blocks: int
    """Blocks with at least one pair."""
    mean: float
    """Mean uplift over pairs, in the metric's unit."""
    sd: float
    """Standard deviation of single pairs' uplift, in the metric's unit."""
    within_market: float
    """Correlation of two pairs of one market in different blocks; a value below 0 is noise around 0."""
    within_block: float
    """Correlation of two pairs of one block in different markets."""
    within_cell: float
    """Correlation of two pairs of the same market and block: the sum of the two above and their interaction."""
    block_autocorrelation: float
    """Lag-1 autocorrelation of block means, corrected for its small-sample bias."""
    longer_block_needed: bool
    """Whether the autocorrelation is above 0.9: then blocks are too dependent, and a longer `time_block` is needed."""
    largest_market: int
    """Code of the market with the most pairs (the lowest code among equals); −1 without any pair."""
    largest_market_share: float
    """Its share of all pairs."""
    mean_without_largest: float
    """Mean uplift without that market's pairs; if it is far from `mean`, the result depends on that one market."""


_NAN = float("nan")
_NOTHING = Diagnostics(0, 0, 0, _NAN, _NAN, _NAN, _NAN, _NAN, _NAN, False, -1, _NAN, _NAN)


def diagnose(cells: Cells) -> Diagnostics:
    """Describes the sample behind an interval.

    Args:
        cells: One entry per (block, market), sorted by block, then market.

    Returns:
        Correlations, autocorrelation of the blocks, influence of the largest market.

    Example:
        >>> from et_pipeline.inference.cells import from_pairs
        >>> d = diagnose(from_pairs([0, 0, 1, 1], [7, 8, 7, 7], [1.0, 3.0, 1.0, 1.0]))
        >>> d.mean, d.mean_without_largest, d.largest_market, d.largest_market_share
        (1.5, 3.0, 7, 0.75)
    """
    return describe(course_of(cells)) if len(cells.n) else _NOTHING


def describe(course: Course) -> Diagnostics:
    """The same from the course of a series.

    Deviations are taken from the centre of the course, a point amid the values: right for values around 1e9 that
    differ by 1e-3.
    """
    moments = course.by_pairs
    n, total = map(float, moments.total[-1])
    shift = total / n
    squares = float(course.squares[-1]) - total * shift
    of_market, of_block, of_cell = _correlations(
        pairs=(n, squares),
        **{
            name: (float(of_n), float(of_total - 2 * shift * both + shift**2 * of_n))
            for name, (of_n, both, of_total) in (
                (way, packed[-1]) for way, packed in moments.squares._asdict().items()
            )
        },
    )
    n_block, sum_block = np.diff(moments.total, axis=0, prepend=0.0).T
    autocorrelation = lag1_autocorrelation(sum_block / n_block - shift)
    code, (n_market, sum_market) = course.newest.market, course.newest.totals.T
    largest = int(np.flatnonzero(n_market == n_market.max())[np.argmin(code[n_market == n_market.max()])])
    rest = n - n_market[largest]
    without = (
        course.centre + shift - (sum_market[largest] - shift * n_market[largest]) / rest
        if rest > 0
        else np.nan
    )
    return Diagnostics(
        n_pairs=round(n),
        n_markets=len(code),
        n_blocks=len(moments.block),
        mean=float(course.centre + shift),
        sd=float(np.sqrt(max(squares, 0.0) / (n - 1.0))) if n > 1 else float("nan"),
        within_market=of_market,
        within_block=of_block,
        within_cell=of_cell,
        block_autocorrelation=autocorrelation,
        longer_block_needed=bool(autocorrelation > MAX_AUTOCORRELATION),
        largest_market=int(code[largest]),
        largest_market_share=float(n_market[largest] / n),
        mean_without_largest=float(without),
    )


def lag1_autocorrelation(values: Floats) -> float:
    """Lag-1 autocorrelation `r`, corrected for its first-order bias: `r + (1 + 4r)/T`.

    E r ≈ ρ − (1 + 4ρ)/T for an AR(1) with unknown mean (Marriott and Pope 1954, "Bias in the estimation of
    autocorrelations", Biometrika 41). NaN for fewer than three values or values that do not vary.
    """
    if len(values) < 3:
        return float("nan")
    deviation = values - values.mean()
    variance = float(np.dot(deviation, deviation))
    if variance <= 0.0:
        return float("nan")
    r = float(np.dot(deviation[1:], deviation[:-1])) / variance
    return float(np.clip(r + (1.0 + 4.0 * r) / len(values), -1.0, 1.0))


def _correlations(
    *,
    pairs: tuple[float, float],
    cell: tuple[float, float],
    market: tuple[float, float],
    block: tuple[float, float],
) -> tuple[float, float, float]:
    """Correlations of couples that share the market only, the block only, and both."""
    n, squares = pairs

    def level(count: float, products: float) -> float:
        return products / count if count >= 1.0 else float("nan")

    # The products of all couples add up to 0, so the sum over those that share nothing is minus the sum of the others.
    apart = level(n * n - market[0] - block[0] + cell[0], cell[1] - market[1] - block[1])
    variance = squares / n - apart
    # A difference this small is a rounding error of the two numbers, not a variance.
    if not variance > 1e-9 * (squares / n + abs(apart)):
        return float("nan"), float("nan"), float("nan")
    of_market, of_block, of_cell = (
        (level(wide[0] - narrow[0], wide[1] - narrow[1]) - apart) / variance
        for wide, narrow in ((market, cell), (block, cell), (cell, pairs))
    )
    return of_market, of_block, of_cell
