"""Shrinkage of several estimates, since the largest of them is on average too large (selection by luck).

References:
    James & Stein 1961, "Estimation with quadratic loss"; Baranchik 1964 (the positive part); for unequal variances the
    estimate works on `mean / se`, as in Efron & Morris 1973, "Stein's estimation rule and its competitors", JASA 68.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def james_stein(means: ArrayLike, ses: ArrayLike) -> NDArray[np.float64]:
    """The positive-part James–Stein estimates of several means, shrunk towards 0 ("no difference").

    `max(0, 1 − (k − 2) / Σ (mean_i/se_i)²) · mean_i`. From three means on, the total squared error in standard errors
    is smaller than that of the means themselves, whatever the truth; fewer are left as they are.

    Args:
        means: The k estimates, shape (k,).
        ses: Their standard errors, each above 0, in the same unit.

    Raises:
        ValueError: A standard error is not above 0.
    """
    mean, se = np.asarray(means, dtype=np.float64), np.asarray(ses, dtype=np.float64)
    if not np.all(se > 0):
        raise ValueError(f"standard errors {se}: each has to be above 0")
    if len(mean) < 3:
        return mean.copy()
    evidence = float(np.sum((mean / se) ** 2))
    return mean * (max(0.0, 1 - (len(mean) - 2) / evidence) if evidence > 0 else 0.0)
