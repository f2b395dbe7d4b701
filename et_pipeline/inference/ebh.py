"""The e-BH procedure for many discoveries, which is valid under any dependence between the experiments.

References:
    Wang & Ramdas 2022, "False discovery rate control with e-values", JRSS B 84(3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Counted(NamedTuple):
    """The result of e-BH for each hypothesis, in the order in which they were given.

    Attributes:
        rank: Its rank by e-value, 1 for the largest; ties are in the given order.
        threshold: The e-value that it needs to stand, if the others stay the same.
        stands: Whether it is rejected: its e-value reaches the threshold.
    """

    rank: NDArray[np.int64]
    threshold: NDArray[np.float64]
    stands: NDArray[np.bool_]


def e_bh(e_values: ArrayLike, *, delta: float, total: int) -> Counted:
    """Which discoveries stand when all hypotheses are counted.

    With the e-values in descending order, the k largest are rejected for the largest k with
    `k·e_(k)/total ≥ 1/delta` (Wang & Ramdas 2022, equation 3). Where each e-value of a true null has an expectation of
    at most 1, the expected share of false ones among the rejected is at most delta, whatever the dependence. The
    expectation holds for an e-process at a stopping time, not for the largest value it ever had.

    Args:
        e_values: E-values of the hypotheses that may be rejected, each not below 0.
        delta: Bound of the false discovery rate.
        total: Number of all hypotheses. Those that are not among `e_values` count with an e-value of 0.

    Raises:
        ValueError: `total` is smaller than the number of e-values, an e-value is negative or NaN, or `delta` is not
            between 0 and 1.

    Example:
        >>> e_bh([900.0, 30.0, 90.0], delta=0.1, total=12).threshold.tolist()
        [60.0, 40.0, 60.0]
    """
    e = np.asarray(e_values, dtype=np.float64)
    if not 0 < delta < 1 or total < len(e) or not np.all(e >= 0):
        raise ValueError(f"delta {delta}, {total} hypotheses, e-values {e}: not what e-BH takes")
    order = np.argsort(-e, kind="stable")
    rank = np.empty(len(e), dtype=np.int64)
    rank[order] = np.arange(1, len(e) + 1)
    bars = total / delta / np.arange(1, len(e) + 1)
    # A hypothesis that reaches threshold j stands if at least j − 1 others reach it too.
    others = np.sum(e[:, None] >= bars, axis=0) - (e[:, None] >= bars)
    reachable = others >= np.arange(len(e))
    threshold = np.min(np.where(reachable, bars, np.inf), axis=1, initial=np.inf)
    return Counted(rank, threshold, e >= threshold)
