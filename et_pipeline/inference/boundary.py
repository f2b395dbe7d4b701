"""The anytime-valid t boundary.

Lindon, Ham, Tingley & Bojinov (2022), "Anytime-valid inference in linear models and regression-adjusted
inference", arXiv 2210.08589: a scale-invariant mixture over effects, centred at the null, makes the
t statistic into an e-process. ``g`` sets the amount of data at which the boundary is narrowest. Everything
here is vectorised. Where the paper has independent observations, effective clusters are used here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from et_pipeline.inference.cells import Floats

MAX_LOG_E = 700.0
"""Largest logarithm of an e-value (1e304): larger e-values are set to it, so that they stay finite in every table."""


def radius(se: ArrayLike, clusters: ArrayLike, alpha: float, g: float) -> Floats:
    """Half width of the anytime-valid interval.

    ``se · √(ν(1−p)/(p−T))`` with ``T = g/(g+t)``, ``p = (T·α²)^(1/(ν+1))``, ``ν = t−1``.

    Args:
        se: standard error of the estimate.
        clusters: effective number of clusters t.
        alpha: probability that the interval ever misses the truth.
        g: tuning, see :func:`solve_g`.

    Returns:
        The half width; infinite where the data cannot bound the mean yet (p ≤ T, at most one cluster,
        or an undefined standard error), so an interval is never NaN.

    Raises:
        ValueError: when alpha is not inside (0, 1) or g is not positive.
    """
    _check(alpha, g)
    se, t = np.broadcast_arrays(np.asarray(se, dtype=np.float64), np.asarray(clusters, dtype=np.float64))
    usable = np.isfinite(se) & (t > 1)
    t = np.where(usable, t, 2.0)
    tau = g / (g + t)
    log_p = (np.log(tau) + 2 * np.log(alpha)) / t
    slack = np.exp(log_p) - tau
    bounded = usable & (slack > 0)
    slack = np.where(bounded, slack, 1.0)
    return np.where(bounded, np.where(usable, se, 0.0) * np.sqrt((t - 1) * -np.expm1(log_p) / slack), np.inf)


def solve_g(planned_clusters: float, alpha: float) -> float:
    """The value of `g` that makes the interval narrowest at the planned number of effective clusters.

    Args:
        planned_clusters: Effective clusters at the planned size, above 1.
        alpha: Probability that the interval ever misses the truth.

    Example:
        >>> round(solve_g(100, 0.05), 3)
        11.623

    Raises:
        ValueError: when planned_clusters is not above 1 or alpha not inside (0, 1).
    """
    if not planned_clusters > 1:
        raise ValueError(f"planned_clusters is {planned_clusters}, it must be above 1")
    _check(alpha, 1.0)
    t = float(planned_clusters)
    # The radius is finite only where T < α^(2/ν); search below that.
    ceiling = 2 * np.log(alpha) / (t - 1)
    highest = np.log(t) + ceiling - np.log(-np.expm1(ceiling))
    # Imported here, since only the registration of a plan needs it and its import takes as long as those of numpy
    # and polars together.
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_g: float(radius(1.0, t, alpha, np.exp(log_g))),
        bounds=(highest - 25.0, highest - 1e-9),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(np.exp(found.x))


def log_e_value(mean: ArrayLike, se: ArrayLike, clusters: ArrayLike, g: float, null: float = 0.0) -> Floats:
    """Natural logarithm of :func:`e_value`."""
    _check(0.5, g)
    mean, se, t = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (mean, se, clusters)))
    usable = np.isfinite(mean) & np.isfinite(se) & (t > 1)
    t = np.where(usable, t, 2.0)
    tau = g / (g + t)
    squared = np.where(usable, mean - null, 0.0) ** 2
    total = squared + (t - 1) * np.where(usable, se, 0.0) ** 2
    # u = t²/(t²+ν) instead of t²: also right for a standard error of zero.
    u = np.divide(squared, total, out=np.zeros_like(total), where=total > 0)
    log_e = 0.5 * np.log(tau) - 0.5 * t * np.log1p(-(1 - tau) * u)
    return np.where(usable, np.minimum(log_e, MAX_LOG_E), 0.0)


def e_value(mean: ArrayLike, se: ArrayLike, clusters: ArrayLike, g: float, null: float = 0.0) -> Floats:
    """Evidence against ``mean uplift = null``; at least 1/α exactly when null lies outside the interval.

    ``√T · ((1 + x)/(1 + T·x))^((ν+1)/2)``, ``x = ((mean − null)/se)²/ν``. It is 1 (no evidence) where
    there is at most one cluster or no standard error. Under the null it exceeds 1/α at any time with
    probability at most α.
    """
    return np.exp(log_e_value(mean, se, clusters, g, null))


def p_value(mean: ArrayLike, se: ArrayLike, clusters: ArrayLike, g: float, null: float = 0.0) -> Floats:
    """Anytime-valid p-value ``min(1, 1/e)``: at most α exactly when null lies outside the interval."""
    return np.exp(-np.maximum(log_e_value(mean, se, clusters, g, null), 0.0))


def _check(alpha: float, g: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, it must lie between 0 and 1")
    if not (g > 0 and np.isfinite(g)):
        raise ValueError(f"g is {g}, it must be a positive number")
