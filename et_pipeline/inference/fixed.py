"""The fixed-size interval, for reference: CR2 variance, Bell–McCaffrey degrees of freedom.

Valid at one look fixed beforehand; no verdict is drawn from it. Bell & McCaffrey (2002), "Bias reduction in
standard errors for linear regression with multi-stage samples", Survey Methodology 28; Pustejovsky & Tipton
(2018), JBES 36, arXiv 1601.01981. For a mean (a regression on the intercept) both have a closed form, so no
matrix is built. With n pairs, cluster sizes n_c, residual sums e_c = S_c − n_c·mean and h_c = n_c/n:

* ``A_c = (I − H_c)^(−1/2)`` multiplies the cluster's residual sum by ``(1 − h_c)^(−1/2)``, so
  ``V = Σ e_c² / (1 − h_c) / n²``;
* under the working model (pairs independent with equal variance), ``n²V = Σ_c (p_cᵀu)²`` with
  ``p_c = (1_c − h_c·1)/√(1 − h_c)``; the matrix of p_cᵀp_d has n_c on its diagonal and
  ``−√(w_c·w_d)``, ``w_c = n·h_c²/(1 − h_c)``, beside it, so Satterthwaite's
  ``df = (Σ_c n_c)² / Σ_cd (p_cᵀp_d)² = n² / (Σ n_c² + (Σ w_c)² − Σ w_c²)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from et_pipeline.inference.cells import Cells, Floats, Ints
from et_pipeline.inference.serial import products, sum_by
from et_pipeline.inference.twoway import pilot_centre

_CHUNK = 1 << 20
"""Entries of a rows × clusters table worked on at once: 8 MB."""


class FixedPath(NamedTuple):
    """One entry per block that has pairs, in time order."""

    block: Ints
    mean: Floats
    se: Floats
    """Two-way CR2 standard error; NaN while there are fewer than two markets or blocks."""
    df: Floats
    """Bell–McCaffrey degrees of freedom of the way of clustering with the larger variance."""
    ci_lower: Floats
    ci_upper: Floats


def fixed_path(cells: Cells, *, alpha: float) -> FixedPath:
    """The fixed-size interval as it would be had one stopped at each block end.

    Both ways of clustering matter here as well: the variance is V(market) + V(block) − V(cell), each of the
    first two CR2, not below the larger of them, and the degrees of freedom are those of the larger, which
    rules the sum. V(cell) takes G/(G−1), which is CR2 for many small clusters, so that single pairs in
    markets and blocks of their own give the ordinary t interval.
    """
    return _fixed(cells, alpha, latest=False)


def fixed_interval(cells: Cells, *, alpha: float) -> FixedPath:
    """The last row of :func:`fixed_path` alone, in one pass (no row without cells)."""
    return _fixed(cells, alpha, latest=True)


def cr2(sizes: Floats, sums: Floats) -> tuple[Floats, Floats]:
    """CR2 variance of the mean and its degrees of freedom.

    Args:
        sizes: pairs per cluster along the last axis; clusters of size 0 are ignored.
        sums: sums of the values per cluster, centred anywhere near their mean.

    Returns:
        Variance and degrees of freedom, NaN where there is only one cluster.

    Example:
        Four pairs in two clusters of two, with cluster means 1 and 3:

        >>> variance, df = cr2(np.array([2.0, 2.0]), np.array([2.0, 6.0]))
        >>> float(variance), float(df)
        (1.0, 1.0)
    """
    n = _sum(sizes)[..., None]
    several = sizes.max(axis=-1, keepdims=True, initial=0.0) < n
    n = np.where(several, n, np.nan)
    share = sizes / n
    leverage = 1 / (1 - share)
    residual = sums - sizes * (_sum(sums)[..., None] / n)
    variance = _sum(residual**2 * leverage) / n[..., 0] ** 2
    weight = share**2 * leverage
    trace = _sum(share**2 - weight**2) + _sum(weight) ** 2
    return variance, 1 / trace


def _sum(values: Floats) -> Floats:
    """Sums along the last axis, one after the other: clusters of size 0 then change nothing, not even a bit."""
    summed: Floats = (
        np.einsum("...c->...", values) if values.shape[-1] < 2 else np.cumsum(values, axis=-1)[..., -1]
    )
    return summed


def _fixed(cells: Cells, alpha: float, *, latest: bool) -> FixedPath:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, it must lie between 0 and 1")
    blocks, position = np.unique(cells.block, return_inverse=True)
    market = np.unique(cells.market, return_inverse=True)[1]
    centre = pilot_centre(cells)
    totals = np.column_stack((cells.n, cells.n * (cells.mean - centre)))
    row = np.zeros_like(position) if latest else position
    rows = min(len(blocks), 1) if latest else len(blocks)
    n, total = np.cumsum(sum_by(row, totals, rows), axis=0).T
    mean = total / n
    by_market, df_market = _way(row, market, totals, rows)
    by_block, df_block = _way(row, position, totals, rows)
    nn, sn, ss = np.cumsum(sum_by(row, products(totals, totals), rows), axis=0).T
    n_cells = np.cumsum(np.bincount(row, minlength=rows))
    by_cell = np.maximum(ss - 2 * mean * sn + mean**2 * nn, 0.0) / n**2 * n_cells / np.maximum(n_cells - 1, 1)
    larger = np.maximum(by_market, by_block)
    se = np.sqrt(np.maximum(by_market + by_block - by_cell, larger))
    df = np.where(by_market >= by_block, df_market, df_block)
    half = stdtrit(df, 1 - alpha / 2) * se
    half = np.where(np.isfinite(half), half, np.inf)
    mean = centre + mean
    return FixedPath(blocks[-rows:] if rows else blocks, mean, se, df, mean - half, mean + half)


def _way(row: Ints, cluster: Ints, totals: Floats, rows: int) -> tuple[Floats, Floats]:
    """CR2 over the running totals of each cluster, some rows at a time."""
    clusters = int(cluster.max(initial=-1)) + 1
    step = max(_CHUNK // max(clusters, 1), 1)
    variance, df = np.empty(rows), np.empty(rows)
    running = np.zeros((2, 1, clusters))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        cell = slice(*np.searchsorted(row, (first, last)))
        slot = (row[cell] - first) * clusters + cluster[cell]
        added = sum_by(slot, totals[cell], (last - first) * clusters).T.reshape(2, last - first, clusters)
        added[:, 0] += running[:, 0]
        tables = np.cumsum(added, axis=1)
        variance[first:last], df[first:last] = cr2(tables[0], tables[1])
        running = tables[:, -1:]
    return variance, df
