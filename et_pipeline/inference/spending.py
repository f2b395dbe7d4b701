"""The boundary over a plan's own horizon: alpha is spent at looks whose number and times are fixed beforehand.

An experiment ends at a known time, so its intervals need not be valid for ever, which would make them wider. Lan &
DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70; Lan & DeMets (1989) for calendar
time with information measured as it comes; Kim & DeMets (1987), Biometrika 74, for powers of time as spending
functions. There are two one-sided boundaries, each with half of alpha. At the share ``u`` of the planned blocks

* the side that says *better* has spent ``α/2·u²``: little of it early, so that early luck does not decide,
* the side that says *worse* has spent ``α/2·u``: more of it early, so that harm is reported sooner.

The score at a look is the estimate divided by its standard error. Over looks with information τ (1/se²) it behaves
as a Brownian motion at times τ, divided by √τ. The boundary at a look is the value that the paths which have not
crossed at an earlier look cross now with a probability equal to the alpha available now. It is computed by the
recursion of Armitage, McPherson & Rowe (1969), JRSS A 132. A look that is left out (because the sample is not ready)
leaves its alpha to the next one.

Integrals are computed on a fixed grid of scores, by Gauss–Legendre quadrature in short panels. The density of the
paths below a boundary is smooth up to the boundary; in the panel that contains the boundary, the polynomial through
the panel's nodes is integrated up to it. So all boundaries use the same grid, and the kernel from one look to the
next is computed once for all of them: additional alphas (for an alarm, for the p-value) cost almost nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_LOOKS = 64
"""Largest number of looks. A plan with more blocks has a look after each 64th part of them."""
LEAST_GROWTH = 1 / MOST_LOOKS
"""Information is assumed to grow by at least this share from look to look.

Where it grows by less, scores of neighbouring looks have a larger correlation than is assumed. Then a path crosses
the boundary with a smaller probability (Slepian 1962, "The one-sided barrier problem for Gaussian noise"), so the error
stays below alpha. The assumption also keeps the kernel from becoming too narrow for the grid.
"""
P_LEVELS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
"""Alphas between whose boundaries p-values are interpolated; the last one is the smallest p-value that is reported."""
BETTER, WORSE = 0, 1
"""The sides, as the first axis of :func:`boundaries`."""
_EXPONENT = np.array([2.0, 1.0])
_LOWEST, _HIGHEST, _PANELS, _NODES = -4.5, 7.5, 30, 6
"""The grid of scores. 3e-6 of the paths lie below its lowest score; all boundaries in use lie below its highest."""

_AT_ONCE = 8
"""Boundaries that are computed at once: boundaries × nodes² stay below 262,144, above which OpenBLAS starts threads."""

_edges = np.linspace(_LOWEST, _HIGHEST, _PANELS + 1)
_half = (_edges[1] - _edges[0]) / 2
_node, _weight = legendre.leggauss(_NODES)
_SCORES: Floats = (_edges[:-1, None] + _half * (1 + _node)).ravel()
# Weights of ∫ from −1 to s of the polynomial through the nodes, as coefficients of Legendre polynomials in s.
_lagrange = legendre.legvander(_node, _NODES - 1).T * _weight * (2 * np.arange(_NODES) + 1)[:, None] / 2
_UP_TO: Floats = np.stack([legendre.legint(column, lbnd=-1) for column in _lagrange.T], axis=1)


def looks(elapsed: ArrayLike, planned_blocks: int) -> Ints:
    """How many looks of the plan are due at each time; a row is a look where this number has risen.

    The planned blocks are divided evenly into at most :data:`MOST_LOOKS` looks. A path has rows only for blocks with
    pairs, so a look at a time without pairs is taken at the next row.

    Args:
        elapsed: for each row, the number of blocks since the plan's start, ascending.
        planned_blocks: blocks between the plan's start and end, at least 1.

    Returns:
        Looks due, 0 to ``min(planned_blocks, MOST_LOOKS)``.

    Example:
        >>> looks([1, 2, 3, 4], 4), looks([60, 70, 128, 640, 650], 640)
        (array([1, 2, 3, 4]), array([ 6,  7, 12, 64, 64]))
    """
    if planned_blocks < 1:
        raise ValueError(f"planned_blocks is {planned_blocks}, it must be at least 1")
    grid = min(planned_blocks, MOST_LOOKS)
    due = np.floor(np.asarray(elapsed, dtype=np.float64) * (grid / planned_blocks) + 1e-9)
    return np.clip(due, 0, grid).astype(np.int64)


def boundaries(share: ArrayLike, information: ArrayLike, levels: ArrayLike) -> Floats:
    """The smallest scores at which a look concludes, for both sides and several alphas.

    The boundary at a look depends on that look and earlier ones, never on later ones.

    Args:
        share: share of the planned looks that are due at each look taken, ascending, above 0 to 1.
        information: 1/se² at each of these looks; its running maximum is used.
        levels: alphas, each for both sides together, above 0 to 1.

    Returns:
        Sides × levels × looks; the sides are :data:`BETTER` and :data:`WORSE`.

    Raises:
        ValueError: when shares do not rise from above 0 to at most 1, or an alpha is not in (0, 1].

    Example:
        The last of five looks, once for the side that spends late and once for the one that spends early:

        >>> time = np.arange(1, 6) / 5
        >>> np.round(boundaries(time, time, [0.05])[:, 0, -1], 2)
        array([2.11, 2.28])
    """
    share, levels = (np.asarray(x, dtype=np.float64) for x in (share, levels))
    if not ((levels > 0) & (levels <= 1)).all():
        raise ValueError(f"levels are {levels}, they must lie above 0 and not above 1")
    if not (np.diff(share, prepend=0.0, append=1.0 + 1e-9) > 0).all():
        raise ValueError("shares must rise from above 0 to at most 1")
    spent: Floats = levels[:, None] / 2 * share ** _EXPONENT[:, None, None]
    if len(share) == 0:
        return spent
    free = np.diff(spent, axis=-1, prepend=0.0).reshape(-1, len(share))
    found = np.empty_like(free)
    found[:, 0] = guess = -ndtri(free[:, 0])
    density = np.exp(-0.5 * _SCORES**2) / np.sqrt(2 * np.pi)
    for look, kept_score in enumerate(_correlations(information), start=1):
        below = density * _weights(found[:, look - 1])
        found[:, look] = _crossed_by(below, kept_score, free[:, look], guess)
        guess = np.minimum(2 * found[:, look] - found[:, look - 1], found[:, look])
        density = _next_density(below, kept_score)
    return found.reshape(spent.shape)


def crossing(information: ArrayLike, upper: ArrayLike) -> Floats:
    """Probability that a Brownian motion has crossed a boundary by each look.

    With a drift ``θ`` per unit of information, give ``upper − θ·√information``.

    Args:
        information: times of the looks, ascending.
        upper: boundary for scores, boundaries × looks.

    Returns:
        Boundaries × looks; the probability of having crossed at this look or an earlier one.
    """
    upper = np.atleast_2d(np.asarray(upper, dtype=np.float64))
    crossed = np.empty_like(upper)
    crossed[:, 0] = ndtr(-upper[:, 0])
    density = np.exp(-0.5 * _SCORES**2) / np.sqrt(2 * np.pi)
    for look, kept_score in enumerate(_correlations(information), start=1):
        below = density * _weights(upper[:, look - 1])
        crossed[:, look] = _tail(below, kept_score, upper[:, look])
        density = _next_density(below, kept_score)
    return np.cumsum(crossed, axis=-1)


def t_quantile(score: ArrayLike, clusters: ArrayLike) -> Floats:
    """The t statistic that is as unlikely, with clusters − 1 degrees of freedom, as a normal score.

    Infinite where there is no boundary (an infinite score) or at most one cluster.
    """
    score, clusters = np.broadcast_arrays(
        np.asarray(score, dtype=np.float64), np.asarray(clusters, dtype=np.float64)
    )
    usable = np.isfinite(score) & (clusters > 1)
    value = -stdtrit(np.where(usable, clusters, 2.0) - 1, ndtr(-np.where(usable, score, 0.0)))
    return np.where(usable, value, np.inf)


def p_value(
    mean: ArrayLike, se: ArrayLike, clusters: ArrayLike, levels: ArrayLike, scores: Floats, null: float = 0.0
) -> Floats:
    """Repeated p-value: the smallest alpha whose boundary the look has reached, on either side.

    Jennison & Turnbull (1984), "Repeated confidence intervals for group sequential clinical trials",
    Controlled Clinical Trials 5. It is at most α exactly when null lies outside the interval at α, for
    every α among the levels; between levels it is interpolated, and it is never below the lowest level.

    Args:
        mean: estimate per look.
        se: its standard error.
        clusters: effective clusters.
        levels: alphas of `scores`, falling.
        scores: sides × levels × looks from :func:`boundaries`.
        null: the mean uplift that is tested.

    Returns:
        One p-value per look; 1 where there is no boundary.
    """
    mean, se, clusters = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (mean, se, clusters)))
    usable = np.isfinite(mean) & np.isfinite(se) & (clusters > 1) & np.isfinite(scores).all(axis=(0, 1))
    distance = np.where(usable, mean - null, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(distance == 0, 0.0, distance / np.where(usable, se, 1.0))
    degrees = np.where(usable, clusters, 2.0) - 1
    normal = ndtri(np.asarray(levels, dtype=np.float64) / 2)
    found = np.ones(len(t))
    for side, sign in ((BETTER, -1.0), (WORSE, 1.0)):
        reached = -ndtri(stdtr(degrees, sign * t))
        for look in np.flatnonzero(usable & (sign * distance < 0)):
            at = 2 * ndtr(np.interp(reached[look], scores[side, :, look], normal, left=0.0))
            found[look] = min(found[look], at)
    return found


def _correlations(information: ArrayLike) -> Floats:
    """Correlation of the scores of each look and the one before it: √(τ before / τ now)."""
    tau = np.maximum.accumulate(np.asarray(information, dtype=np.float64))
    correlations: Floats = np.sqrt(1 / np.maximum(tau[1:] / tau[:-1], 1 + LEAST_GROWTH))
    return correlations


def _weights(upper: Floats) -> Floats:
    """Weights of the integral from the lowest score up to each of several boundaries, boundaries × nodes."""
    place = (np.clip(upper, _LOWEST, _HIGHEST) - _LOWEST) / (2 * _half)
    panel = np.minimum(place.astype(np.int64), _PANELS - 1)
    weights: Floats = np.where(np.arange(_PANELS)[:, None] < panel[:, None, None], _weight, 0.0)
    weights[np.arange(len(upper)), panel] = legendre.legvander(2 * (place - panel) - 1, _NODES) @ _UP_TO
    weights *= _half
    return weights.reshape(len(upper), -1)


def _kernel(correlation: float) -> Floats:
    """Density of the score at a look (columns) given that at the look before (rows)."""
    sd = np.sqrt(1 - correlation**2)
    away: Floats = (_SCORES - correlation * _SCORES[:, None]) / sd
    np.square(away, out=away)
    away *= -0.5
    np.exp(away, out=away)
    away /= sd * np.sqrt(2 * np.pi)
    return away


def _next_density(below: Floats, correlation: float) -> Floats:
    """Density at a look of the paths that were below each boundary at the look before.

    It takes a few boundaries at a time, since products of this size are computed on one thread. Larger products are
    divided among threads; on busy cores these waited for each other and used twenty times the processor time.
    """
    kernel = _kernel(correlation)
    return np.concatenate([below[i : i + _AT_ONCE] @ kernel for i in range(0, len(below), _AT_ONCE)])


def _tail(below: Floats, correlation: float, upper: Floats) -> Floats:
    """Probability to be above each boundary at this look and below it at the earlier ones."""
    away = (correlation * _SCORES - upper[:, None]) / np.sqrt(1 - correlation**2)
    tail: Floats = np.einsum("bn,bn->b", below, ndtr(away))
    return tail


def _crossed_by(below: Floats, correlation: float, free: Floats, start: Floats) -> Floats:
    """The boundaries that are crossed at this look with the probabilities `free`.

    It uses Newton's method on the logarithm of the tail probability, which is concave. Steps are at most two standard
    deviations of the kernel: beyond that, the tail of the truncated density is smaller than the error of the grid.
    """
    sd = np.sqrt(1 - correlation**2)
    upper = start.copy()
    for _ in range(40):
        away = (correlation * _SCORES - upper[:, None]) / sd
        tail = np.einsum("bn,bn->b", below, ndtr(away))
        slope = np.einsum("bn,bn->b", below, np.exp(-0.5 * away**2)) / (sd * np.sqrt(2 * np.pi))
        seen = (tail > 0) & (slope > 0)
        tail, slope = np.where(seen, tail, 1.0), np.where(seen, slope, 1.0)
        step = np.where(seen, np.clip(tail / slope * np.log(tail / free), -2 * sd, 2 * sd), -sd)
        upper += step
        if np.abs(step).max() < 1e-6:
            break
    return upper
