"""The median-unbiased estimate after a sequential experiment has stopped: it is too high as often as too low.

An experiment that stops when its interval excludes zero stops more easily when its mean is large by chance, so the mean
at that moment is too far from zero (the winner's curse). Outcomes are put in order by the stage-wise ordering: an
earlier stop is stronger evidence than a later one, and at the same look a higher score is stronger than a lower one.
The estimate is the uplift under which an outcome at least as strong as the one observed has probability 1/2. Over all
experiments of a plan it is too high half of the time, if those that never stop are counted as too low (Jennison &
Turnbull 1999, "Group Sequential Methods", chapter 8; Tsiatis, Rosner & Mehta 1984, Biometrics 40). Its probabilities
come from the recursion with which the boundary is computed, see :mod:`et_pipeline.inference.spending`.

The boundary of the other side is ignored. Under an uplift as large as the estimate, paths hardly ever cross that
boundary first; to count them as paths that go on can only move the estimate towards zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtr

from et_pipeline.inference.boundary import radius
from et_pipeline.inference.cells import Floats
from et_pipeline.inference.spending import crossing

_POINTS = 13
_ROUNDS = 2


def median_unbiased(mean: ArrayLike, se: ArrayLike, degrees: ArrayLike, reach: ArrayLike) -> float:
    """The median-unbiased estimate at the look that concluded, for a side on which positive is the conclusion.

    An earlier look at which the interval already excluded zero, but at which another condition prevented the verdict,
    is treated as a look at which nothing could have been concluded.

    Args:
        mean: Estimate at each look taken, the concluding one last; there it is positive.
        se: Its standard error.
        degrees: Degrees of freedom of the standard error.
        reach: Distance from the estimate to the end of the interval at each look; at the last look it is smaller than
            the estimate.

    Returns:
        Between 0 and the mean; NaN where the last look does not conclude.

    Example:
        A first look that concludes is not biased by looks before it; one after many may be:

        >>> round(median_unbiased([3.0], [1.0], [1e6], [2.5]), 3)
        3.0
        >>> looks = 1 / np.sqrt(np.arange(1, 6) / 5)
        >>> round(median_unbiased([1.0, 1.0, 1.0, 1.0, 2.4], looks, [1e6] * 5, 2.3 * looks), 2)
        2.15
    """
    mean, se, degrees, reach = (np.asarray(column, dtype=np.float64) for column in (mean, se, degrees, reach))
    if not len(mean) or not mean[-1] > reach[-1] > 0 or not se[-1] > 0:
        return float("nan")
    score, boundary = _score(mean / se, degrees), _score(reach / se, degrees)
    boundary = np.where(score >= boundary, np.inf, boundary)
    boundary[-1] = score[-1]
    information = np.maximum.accumulate(1 / se**2)
    root = np.sqrt(information)
    low, high = 0.0, float(score[-1] / root[-1])
    for _ in range(_ROUNDS):
        uplift = np.linspace(low, high, _POINTS)
        upper = np.where(np.isinf(boundary), np.inf, boundary) - uplift[:, None] * root
        probit = ndtri(np.clip(crossing(information, upper)[:, -1], 1e-300, 1 - 1e-16))
        place = int(np.clip(np.searchsorted(probit, 0.0), 1, _POINTS - 1))
        low, high = uplift[place - 1], uplift[place]
    span = probit[place] - probit[place - 1]
    found = low + (high - low) * float(np.clip(-probit[place - 1] / span, 0, 1) if span > 0 else 1.0)
    # `found` is a normal score: it is converted to a mean with the ratio of mean and score at the last look.
    return float(found * mean[-1] / (score[-1] / root[-1]))


def conservative(mean: float, se: float, clusters: float, *, g: float) -> float:
    """An estimate that is too high at most half of the time, at whatever moment one stops.

    For the boundary that is valid for ever there are no looks to put in order. But the interval at α = 1/2 ever misses
    the truth with a probability of at most 1/2, and so does its lower end (Howard, Ramdas, McAuliffe & Sekhon 2021,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49).

    Args:
        mean: Estimate, on a side on which positive is the conclusion.
        se: Its standard error.
        clusters: Effective clusters.
        g: Tuning of the boundary.

    Returns:
        Between 0 and the mean.

    Example:
        >>> round(conservative(3.3, 1.0, 50.0, g=6.0), 2)
        1.26
    """
    return max(mean - float(radius(se, clusters, 0.5, g)), 0.0)


def _score(t: Floats, degrees: Floats) -> Floats:
    """The normal score that is as unlikely as a t statistic."""
    score: Floats = np.clip(-ndtri(stdtr(degrees, -np.asarray(t))), -7.5, 7.5)
    return score
