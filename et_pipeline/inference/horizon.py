"""An interval path over a plan's own horizon: from means and standard errors to intervals at the plan's looks.

The estimate, its standard error and its clusters are those of :mod:`et_pipeline.inference.twoway` (or of the
estimator that built the path); the boundary is that of :mod:`et_pipeline.inference.spending`. This module adds two
rules for standard errors that are estimated from few blocks:

* scores become t statistics with the degrees of freedom of :func:`serial.degrees_of_blocks`. Where blocks are
  correlated over many lags, the variance is not known precisely, and the interval becomes wider instead of wrong;
* a look is taken only after a fifth of the plan, and with at least 30 blocks with pairs and 10 effective clusters
  (of markets and of blocks, without the correction for serial correlation). A look that is not taken leaves its alpha
  to the next one. So waiting costs only a little time: in the first fifth, only an effect of more than six final
  standard errors could be seen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from et_pipeline.inference import spending
from et_pipeline.inference.cells import Floats, Ints
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS, IntervalPath, has_spread

MIN_BLOCKS = 30
"""Blocks with pairs below which no look is taken: fewer do not show over how many lags they are correlated."""
FIRST_SHARE = 0.2
"""Share of the plan before which no look is taken."""


Ends = tuple[Floats, Floats]
"""Lower and upper ends of the intervals, one entry per row."""


class Horizon(NamedTuple):
    """What a plan fixes about its looks."""

    starts_at: int
    """Start of the plan, microseconds since the epoch."""
    time_block: int
    """Length of a block, microseconds; blocks are aligned to the epoch."""
    planned_blocks: int
    """Blocks the plan was registered for."""
    min_pairs: int = 0
    """Pairs below which nothing is concluded; no alpha is spent before that number is reached."""

    @property
    def looks(self) -> int:
        """Number of the plan's looks."""
        return min(self.planned_blocks, spending.MOST_LOOKS)

    def due(self, block: Ints) -> Ints:
        """How many looks are due at the end of each block."""
        return spending.looks((block - self.starts_at) / self.time_block + 1, self.planned_blocks)

    def time_of(self, look: Ints) -> Ints:
        """End of the first block at which so many looks are due, microseconds since the epoch."""
        planned = self.starts_at + -(-look * self.planned_blocks * self.time_block // self.looks)
        aligned: Ints = -(-planned // self.time_block) * self.time_block
        return aligned


def carried(path: IntervalPath, alarm: Ends) -> tuple[IntervalPath, Ends]:
    """A path of :func:`on_horizon` in which rows between looks repeat the interval, p-value and `ready` of the last
    look.

    Args:
        path: The path.
        alarm: The ends of its intervals at the alpha of the alarm.
    """
    newest = np.maximum.accumulate(np.where(path.look, np.arange(len(path.look)), -1))

    def carry(column: Floats) -> Floats:
        return np.where(newest < 0, np.nan, column[newest])

    path = path._replace(
        ci_lower=carry(path.ci_lower),
        ci_upper=carry(path.ci_upper),
        p_value=carry(path.p_value),
        ready=path.ready[newest] & (newest >= 0),
    )
    return path, (carry(alarm[0]), carry(alarm[1]))


def first_look(looks: int) -> int:
    """Number of the first look that may be taken.

    Example:
        >>> first_look(64), first_look(30)
        (13, 6)
    """
    return int(np.ceil(FIRST_SHARE * looks - 1e-9))


def on_horizon(
    path: IntervalPath, horizon: Horizon, *, alpha: float, alarm_alpha: float, null: float = 0.0
) -> tuple[IntervalPath, Ends]:
    """The path with the intervals of the plan's boundary.

    Args:
        path: means, standard errors and clusters per block end; its e-values are kept.
        horizon: the plan's looks.
        alpha: probability that the intervals of the plan's looks ever miss the truth, half of it on each side.
        alarm_alpha: the same for the interval that may raise the alarm.
        null: the mean uplift that the p-value tests.

    Returns:
        The path and the ends of the interval at `alarm_alpha`. Where no look falls, ends and p-value are NaN and
        `ready` is false; at a look that is not taken, ends are infinite and the p-value is 1.
    """
    due = horizon.due(path.block)
    look = np.diff(due, prepend=0) > 0
    clusters = np.minimum(path.market_clusters, path.block_clusters)
    enough = (
        look
        & (due >= first_look(horizon.looks))
        & (path.n_blocks >= MIN_BLOCKS)
        & (clusters >= MIN_CLUSTERS)
        & (path.autocorrelation <= MAX_AUTOCORRELATION)
        & (path.n_pairs >= horizon.min_pairs)
    )
    ready = enough & np.isfinite(path.se) & has_spread(path.mean, path.se)
    levels = sorted({*spending.P_LEVELS, alpha, alarm_alpha}, reverse=True)
    scores = np.full((2, len(levels), len(look)), np.inf)
    scores[:, :, ready] = spending.boundaries(due[ready] / horizon.looks, 1 / path.se[ready] ** 2, levels)
    quantiles = np.where(ready, spending.t_quantile(scores, path.degrees + 1), 0.0)
    # Values that are all equal have an interval of width 0. It is not `ready`; only `bounded` makes use of it.
    unknown = np.where(ready | (enough & (path.se == 0)), 0.0, np.where(look, np.inf, np.nan))

    def ends(level: float) -> Ends:
        better, worse = quantiles[:, levels.index(level)] * np.where(ready, path.se, 0.0) + unknown
        return path.mean - better, path.mean + worse

    lower, upper = ends(alpha)
    p = spending.p_value(path.mean, path.se, path.degrees + 1, levels, scores, null)
    on_looks = path._replace(
        clusters=clusters,
        ci_lower=lower,
        ci_upper=upper,
        p_value=np.where(look, p, np.nan),
        enough=enough,
        ready=ready,
        look=look,
    )
    return on_looks, ends(alarm_alpha)


def further_pairs(
    mean: float,
    se: float,
    degrees: float,
    n_pairs: float,
    n_blocks: float,
    *,
    look: int,
    looks: int,
    alpha: float,
    null: float = 0.0,
    equivalence_margin: float | None = None,
    min_pairs: float = 0.0,
) -> float:
    """Further pairs that are needed until a look decides, if mean, spread and traffic stay as they are.

    Pairs, information and degrees of freedom are assumed to grow in proportion to the number of looks, in the past as
    well. A look decides when an end of the interval passes the null, or, with a margin, when the whole interval lies
    within it.

    Args:
        mean: Present estimate.
        se: Its standard error.
        degrees: Degrees of freedom of the standard error.
        n_pairs: Pairs so far.
        n_blocks: Blocks with pairs so far.
        look: Looks that are due by now.
        looks: Looks of the plan.
        alpha: Probability that the intervals of the plan ever miss the truth.
        null: 0, or minus a non-inferiority margin.
        equivalence_margin: The plan's margin of equivalence; None where it has none.
        min_pairs: Pairs below which the plan concludes nothing.

    Returns:
        The number of pairs; infinite when the plan ends before, NaN when it cannot be computed yet.
    """
    if not (np.isfinite(mean) and se > 0 and look > 0 and n_pairs > 0):
        return float("nan")
    number = np.arange(first_look(looks), looks + 1)
    growth = number / look
    taken = (n_blocks * growth >= MIN_BLOCKS) & (n_pairs * growth >= min_pairs)
    number, growth = number[taken], growth[taken]
    if not len(number):
        return float("inf")
    scores = _even_scores(int(number[0]), looks, alpha)
    better, worse = spending.t_quantile(scores, degrees * growth + 1) * se / np.sqrt(growth)
    decides = (mean - better > null) | (mean + worse < null)
    if equivalence_margin is not None:
        decides |= (mean - better > -equivalence_margin) & (mean + worse < equivalence_margin)
    decides &= number > look
    return float(np.ceil(n_pairs * (growth[decides][0] - 1))) if decides.any() else float("inf")


@lru_cache(maxsize=256)
def _even_scores(first: int, looks: int, alpha: float) -> Floats:
    """Scores of both sides at the looks from `first` on, where every look brings the same information."""
    number = np.arange(first, looks + 1)
    return spending.boundaries(number / looks, number, [alpha])[:, 0]


def single_look(path: IntervalPath, *, alpha: float) -> Ends:
    """The interval of an analysis with a single look (fixed sample size), at every row; it is valid at one row only.

    The standard error is the path's, times what a cluster jackknife adds where few clusters hold most pairs
    (MacKinnon, Nielsen & Webb 2024, arXiv 2406.08880): leaving out a cluster with the share h of the pairs divides
    its residual sum by 1 − h, whereas the path's factor G/(G−1) assumes that h is 1/G. Here h is assumed to be one over
    the effective number of clusters, so the factor is 1 for clusters of equal size.

    Returns:
        Lower and upper ends; infinite where there is no standard error.
    """
    of_markets = path.market_clusters <= path.block_clusters
    effective = np.maximum(np.minimum(path.market_clusters, path.block_clusters), 2.0)
    clusters = np.maximum(np.where(of_markets, path.n_markets, path.n_blocks), 2)
    jackknife = np.maximum((1 - 1 / clusters) / (1 - 1 / effective), 1.0)
    half = stdtrit(path.degrees, 1 - alpha / 2) * path.se * jackknife
    half = np.where(np.isfinite(half), half, np.inf)
    return path.mean - half, path.mean + half
