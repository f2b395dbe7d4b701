"""Does limited live send the planned share of opportunities to the variant?

A split that differs from the plan says that assignment is broken, and then no comparison of the arms
means anything. The test is the sequential multinomial test of Lindon and Malek (2022), "Anytime-valid
inference for multinomial count data", NeurIPS, arXiv 2011.03567: it may be looked at after every
opportunity, for ever.

With planned shares θ₀ = (split, 1 − split), a Dirichlet prior α₀ = concentration·θ₀ and counts S after n
opportunities, the e-value is the Bayes factor of "some Dirichlet-distributed share" against θ₀

    E_n = Γ(Σα₀)/Γ(Σα₀ + n) · Π_i Γ(α₀ᵢ + Sᵢ)/Γ(α₀ᵢ) · Π_i θ₀ᵢ^(−Sᵢ)

which is a non-negative martingale with mean 1 while each opportunity goes to the variant with probability
`split`, independently of the past. It depends on the counts only, so the order within a block is
irrelevant. By Ville's inequality it ever reaches 1/alpha with probability at most alpha.

A plan's split may be lowered on the way, at a moment that is known only to lie between two ticks. What came
before it is held against the old split, what comes after it against the new one; the two e-values multiply,
since the second starts anew with what was then the past. Within the blocks in which the change may lie, every
moment of it is tried and the smallest e-value counts: one of these moments is the true one, so the smallest is
at most the e-value of the truth. The block in which the change falls had both splits and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, xlogy

from et_pipeline.inference.cells import Floats, Ints

CONCENTRATION = 100.0
ALPHA = 0.001
_BISECTIONS = 60


class SplitChange(NamedTuple):
    """The planned split was changed on the way.

    Attributes:
        first: Index of the first block in which the change may lie.
        last: Index of the last one; `first - 1` where it lies between two blocks.
        split: Planned share of the variant from then on, 0 to 1.
    """

    first: int
    last: int
    split: float


class SampleRatioPath(NamedTuple):
    """The check at the end of every block; arrays have one entry a block."""

    variant: Ints
    """Opportunities of the variant so far, under the split of that block."""
    control: Ints
    """Opportunities of the control so far, under the split of that block."""
    split: Floats
    """The planned share of the variant that the block is held against."""
    share: Floats
    """Observed share of the variant under that split, NaN before the first opportunity."""
    posterior_share: Floats
    """Posterior mean of the share, pulled towards the plan by the prior."""
    lower: Floats
    """Lower end of the anytime-valid (1 − alpha) interval of the true share."""
    upper: Floats
    """Upper end of it."""
    e_value: Floats
    """Evidence against the planned split at this moment; overflows to infinity past 1e308."""
    log_e_value: Floats
    """Its natural logarithm, which does not overflow."""
    p_value: Floats
    """Anytime-valid p-value: one over the largest e-value so far."""
    alarm: NDArray[np.bool_]
    """Whether the p-value has reached alpha: once true, true for ever."""


def sample_ratio_path(
    variant: ArrayLike,
    control: ArrayLike,
    *,
    split: float,
    changes: Sequence[SplitChange] = (),
    concentration: float = CONCENTRATION,
    alpha: float = ALPHA,
) -> SampleRatioPath:
    """Check the planned split at the end of every block.

    Args:
        variant: Opportunities the variant got in each block, in time order (not cumulative).
        control: Opportunities the control got in each block.
        split: Planned share of the variant, 0 to 1 (`traffic_split_pct / 100`).
        changes: Later changes of it, in order of time.
        concentration: Weight of the prior, in opportunities; large is sharp for small deviations.
        alpha: Probability of ever raising an alarm while the split is right.

    Returns:
        The path, one entry a block.

    Raises:
        ValueError: When a share, a count or alpha is outside its range, or the lengths differ.

    Example:
        >>> path = sample_ratio_path([10, 90], [90, 210], split=0.1)
        >>> path.share.round(3).tolist(), path.alarm.tolist()
        ([0.1, 0.25], [False, True])
    """
    v, c = _counts("variant", variant), _counts("control", control)
    if v.shape != c.shape:
        raise ValueError(f"variant has {v.size} blocks, control has {c.size}: one count per block and arm")
    splits = [("split", planned, 0.0, 1.0) for planned in (split, *(change.split for change in changes))]
    for name, value, low, high in (*splits, ("alpha", alpha, 0.0, 1.0)):
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: allowed are values from {low:g} to {high:g}")
    if not 0.0 < concentration < np.inf:
        raise ValueError(f"concentration is {concentration}: allowed are positive numbers")
    log_e = log_e_value(v.cumsum(), c.cumsum(), split=split, concentration=concentration)
    since, planned = np.zeros(v.size, dtype=np.int64), np.full(v.size, float(split))
    for change in changes:
        log_e, since, planned = _changed(v, c, change, concentration, log_e, since, planned)
    before = np.minimum(since, np.arange(v.size) + 1)
    s, f = (np.cumsum(counts) - np.append(0, np.cumsum(counts))[before] for counts in (v, c))
    n = s + f
    log_p = -np.maximum.accumulate(np.maximum(log_e, 0.0))
    lower, upper = np.zeros(v.size), np.ones(v.size)
    for one in np.unique(planned):
        here = planned == one
        lower[here], upper[here] = _share_interval(s[here], f[here], float(one), concentration, alpha)
    with np.errstate(invalid="ignore", over="ignore"):
        return SampleRatioPath(
            variant=s,
            control=f,
            split=planned,
            share=np.where(n > 0, s / np.maximum(n, 1), np.nan),
            posterior_share=(concentration * planned + s) / (concentration + n),
            lower=lower,
            upper=upper,
            e_value=np.exp(log_e),
            log_e_value=log_e,
            p_value=np.exp(log_p),
            alarm=log_p <= np.log(alpha),
        )


def _changed(
    v: Ints,
    c: Ints,
    change: SplitChange,
    concentration: float,
    log_e: Floats,
    since: Ints,
    planned: Floats,
) -> tuple[Floats, Ints, Floats]:
    """Log e-values, first block counted and split of every block, with one more change of the split.

    Tried are all moments between two blocks, and all blocks in which it may fall, which are left out then.
    """
    between = [(cut, cut) for cut in range(max(change.first, 0), change.last + 2)]
    within = [(cut, cut + 1) for cut in range(max(change.first, 0), change.last + 1)]
    least, begin = np.full(v.size, np.inf), np.zeros(v.size, dtype=np.int64)
    for end, start in between + within:
        if end >= v.size:
            continue
        past = log_e[end - 1] if end else 0.0
        new = log_e_value(
            v[start:].cumsum(), c[start:].cumsum(), split=change.split, concentration=concentration
        )
        path = past + np.append(np.zeros(start - end), new)
        better = np.append(np.zeros(end, dtype=bool), path < least[end:])
        least[better], begin[better] = path[better[end:]], start
    blocks = np.arange(v.size)
    new_rules = (blocks >= change.first) & ((blocks > change.last) | (least < log_e))
    return (
        np.where(new_rules, least, log_e),
        np.where(new_rules, begin, since),
        np.where(new_rules, change.split, planned),
    )


def log_e_value(
    variant: ArrayLike, control: ArrayLike, *, split: float, concentration: float = CONCENTRATION
) -> Floats:
    """Natural logarithm of the e-value against `split` at cumulative counts (equation in the module's head).

    A planned share of 0 or 1 leaves no room for chance: one opportunity of the arm that should get none
    is infinite evidence.
    """
    s, f = np.asarray(variant, dtype=float), np.asarray(control, dtype=float)
    if split in (0.0, 1.0):
        forbidden = s if split == 0.0 else f
        return np.where(forbidden > 0, np.inf, 0.0)
    a, b = concentration * split, concentration * (1.0 - split)
    log_e: Floats = betaln(a + s, b + f) - betaln(a, b) - xlogy(s, split) - xlogy(f, 1.0 - split)
    return log_e


def _counts(name: str, values: ArrayLike) -> Ints:
    counts = np.asarray(values)
    if counts.ndim != 1 or (counts.size and not np.all(np.equal(np.mod(counts, 1), 0) & (counts >= 0))):
        raise ValueError(f"{name} must be a list of whole numbers, none below 0, one per block")
    return counts.astype(np.int64)


def _share_interval(
    s: Ints, f: Ints, split: float, concentration: float, alpha: float
) -> tuple[Floats, Floats]:
    """Shares θ not yet rejected: {θ : E_n(θ) < 1/alpha} with the prior held fixed.

    `s·log θ + f·log(1 − θ)` has one peak, at s/n, so each end is found by bisection between it and 0 or 1.
    """
    n = s + f
    prior = min(max(split, 0.5 / concentration), 1.0 - 0.5 / concentration) if concentration > 1.0 else 0.5
    a, b = concentration * prior, concentration * (1.0 - prior)
    threshold = betaln(a + s, b + f) - betaln(a, b) + np.log(alpha)
    peak = s / np.maximum(n, 1)

    def rejected(theta: Floats) -> NDArray[np.bool_]:
        return np.asarray(xlogy(s, theta) + xlogy(f, 1.0 - theta) <= threshold)

    ends = []
    for edge in (np.zeros_like(peak), np.ones_like(peak)):
        outside, inside = edge.copy(), peak.copy()
        for _ in range(_BISECTIONS):
            middle = (outside + inside) / 2.0
            out = rejected(middle)
            outside, inside = np.where(out, middle, outside), np.where(out, inside, middle)
        ends.append(np.where((n == 0) | ~rejected(edge), edge, outside))
    return ends[0], ends[1]
