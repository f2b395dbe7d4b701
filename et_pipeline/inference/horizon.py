"""An interval path over a plan's own horizon: from means and standard errors to intervals at the plan's looks.

The estimate, its standard error and its clusters are those of :mod:`et_pipeline.inference.twoway` (or of the
estimator that built the path); the boundary is that of :mod:`et_pipeline.inference.spending`. What is new here is
what a standard error from few blocks is worth:

* scores become t statistics with the degrees of freedom of :func:`serial.degrees_of_blocks`: where blocks remember
  each other for long, the variance is known badly, and the interval is wide rather than wrong;
* a look is taken only from 30 blocks with pairs and 10 effective clusters (markets and blocks, memory aside) on.
  A look that is not taken leaves its alpha to the next one, so waiting costs nothing but time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from et_pipeline.inference import spending
from et_pipeline.inference.cells import Floats
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION, MIN_CLUSTERS, IntervalPath, has_spread

MIN_BLOCKS = 30
"""Blocks with pairs below which no look is taken: fewer cannot show how long they remember."""


class Horizon(NamedTuple):
    """What a plan fixes about its looks."""

    starts_at: int
    """Start of the plan, microseconds since the epoch."""
    time_block: int
    """Length of a block, microseconds."""
    planned_blocks: int
    """Blocks the plan was registered for."""
    min_pairs: int = 0
    """Pairs below which nothing is concluded, so that no alpha is spent there."""


def on_horizon(
    path: IntervalPath, horizon: Horizon, *, alpha: float, alarm_alpha: float, null: float = 0.0
) -> tuple[IntervalPath, tuple[Floats, Floats]]:
    """The same path with the plan's boundary.

    Args:
        path: means, standard errors and clusters per block end; its e-values are kept.
        horizon: the plan's looks.
        alpha: probability that the intervals of the plan's looks ever miss the truth, half a side.
        alarm_alpha: the same for the interval that may raise the alarm.
        null: the mean uplift that the p-value tests.

    Returns:
        The path and the ends of the interval at `alarm_alpha`. Where no look falls, ends and p-value are NaN and
        `ready` is false; at a look that is not taken, ends are infinite and the p-value is 1.
    """
    due = spending.looks((path.block - horizon.starts_at) / horizon.time_block + 1, horizon.planned_blocks)
    look = np.diff(due, prepend=0) > 0
    clusters = np.minimum(path.market_clusters, path.block_clusters)
    enough = (
        (path.n_blocks >= MIN_BLOCKS)
        & (clusters >= MIN_CLUSTERS)
        & (path.autocorrelation <= MAX_AUTOCORRELATION)
        & (path.n_pairs >= horizon.min_pairs)
    )
    ready = look & enough & np.isfinite(path.se) & has_spread(path.mean, path.se)
    levels = sorted({*spending.P_LEVELS, alpha, alarm_alpha}, reverse=True)
    scores = np.full((2, len(levels), len(look)), np.inf)
    grid = min(horizon.planned_blocks, spending.MOST_LOOKS)
    scores[:, :, ready] = spending.boundaries(due[ready] / grid, 1 / path.se[ready] ** 2, levels)

    def ends(level: float) -> tuple[Floats, Floats]:
        better, worse = spending.t_quantile(scores[:, levels.index(level)], path.degrees + 1)
        # Values that do not differ at all have an interval of no width; it is not ready (see `bounded` for its use).
        flat = look & enough & (path.se == 0)
        lower = path.mean - np.where(ready, better * path.se, np.where(flat, 0.0, np.inf))
        upper = path.mean + np.where(ready, worse * path.se, np.where(flat, 0.0, np.inf))
        return np.where(look, lower, np.nan), np.where(look, upper, np.nan)

    lower, upper = ends(alpha)
    p = spending.p_value(path.mean, path.se, path.degrees + 1, levels, scores, null)
    on_looks = path._replace(
        clusters=clusters,
        ci_lower=lower,
        ci_upper=upper,
        p_value=np.where(look, p, np.nan),
        ready=ready,
        look=look,
    )
    return on_looks, ends(alarm_alpha)


def single_look(path: IntervalPath, *, alpha: float) -> tuple[Floats, Floats]:
    """The interval for an analysis planned for one look, at every row; valid at one of them only.

    The standard error is the path's, times what a cluster jackknife adds where few clusters hold most pairs
    (MacKinnon, Nielsen & Webb 2024, arXiv 2406.08880): leaving out a cluster with the share h of the pairs divides
    its residual sum by 1 − h, where the path's factor G/(G−1) takes h to be 1/G. The share is taken to be one over
    the effective number of clusters, so the factor is 1 for equal clusters.

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
