"""Does limited live send the planned share of opportunities to the variant?

A split that differs from the plan shows that the assignment does not work as planned, and then no comparison of the
arms can be trusted. The test is the sequential multinomial test of Lindon and Malek (2022), "Anytime-valid
inference for multinomial count data", NeurIPS, arXiv 2011.03567. Its result may be read after every opportunity,
without any limit.

With planned shares θ₀ = (split, 1 − split), a Dirichlet prior α₀ = concentration·θ₀ and counts S after n
opportunities, the e-value is the Bayes factor of "some Dirichlet-distributed share" against θ₀

    E_n = Γ(Σα₀)/Γ(Σα₀ + n) · Π_i Γ(α₀ᵢ + Sᵢ)/Γ(α₀ᵢ) · Π_i θ₀ᵢ^(−Sᵢ)

which is a non-negative martingale with mean 1 while each opportunity goes to the variant with probability
`split`, independently of the past. It depends on the counts only, so the order within a block is
irrelevant. By Ville's inequality it ever reaches 1/alpha with probability at most alpha.

A plan's split may be lowered while the experiment runs. Of the moment of that change it is known only that it lies
between two ticks. Opportunities before it are compared with the old split, later ones with the new split, and the two
e-values are multiplied; this is valid since the second one starts at 1 again, given everything before it. For the
blocks in which the change may lie, every possible moment is tried and the smallest e-value counts. One of these moments
is the true one, so the smallest e-value is at most that of the true moment. The block in which the change happened had
both splits, so it is left out.
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
GROUP_CONCENTRATION = 10.0
"""The concentration for groups: they are smaller, and the deviations to be found are larger."""
MOST_EVIDENCE = 1e12
"""Largest e-value that a single group can contribute to the mean over groups."""
_BISECTIONS = 60


class SplitChange(NamedTuple):
    """A change of the planned split while the experiment runs.

    Attributes:
        first: Index of the first block in which the change may lie.
        last: Index of the last one; `first - 1` where it lies between two blocks.
        split: Planned share of the variant from then on, 0 to 1.
    """

    first: int
    last: int
    split: float


class SampleRatioPath(NamedTuple):
    """The check at the end of every block; arrays have one entry per block."""

    variant: Ints
    """Opportunities of the variant so far, under the split of that block."""
    control: Ints
    """Opportunities of the control so far, under the split of that block."""
    split: Floats
    """The planned share of the variant with which the block is compared."""
    share: Floats
    """Observed share of the variant under that split, NaN before the first opportunity."""
    posterior_share: Floats
    """Posterior mean of the share, pulled towards the plan by the prior."""
    lower: Floats
    """Lower end of the anytime-valid (1 − alpha) interval of the true share."""
    upper: Floats
    """Upper end of that interval."""
    e_value: Floats
    """Evidence against the planned split at this moment; infinite above 1e308."""
    log_e_value: Floats
    """Its natural logarithm, which does not overflow."""
    p_value: Floats
    """Anytime-valid p-value: one over the largest e-value so far."""
    alarm: NDArray[np.bool_]
    """Whether the p-value has reached alpha at this block or an earlier one."""


def sample_ratio_path(
    variant: ArrayLike,
    control: ArrayLike,
    *,
    split: float,
    changes: Sequence[SplitChange] = (),
    concentration: float = CONCENTRATION,
    alpha: float = ALPHA,
) -> SampleRatioPath:
    """Checks the planned split at the end of every block.

    Args:
        variant: Opportunities the variant got in each block, in time order (not cumulative).
        control: Opportunities the control got in each block.
        split: Planned share of the variant, 0 to 1 (`traffic_split_pct / 100`).
        changes: Later changes of the planned share, in order of time.
        concentration: Weight of the prior, in opportunities; a large one finds small deviations sooner.
        alpha: Probability of ever raising an alarm while the split is right.

    Returns:
        The path, one entry per block.

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


class GroupRatios(NamedTuple):
    """The split within each group of opportunities (for instance each market, or each hour of the day)."""

    group: Ints
    """The groups, ascending."""
    variant: Ints
    """Opportunities of the variant in each group."""
    control: Ints
    """Opportunities of the control in each group."""
    split: Floats
    """Planned share of the variant, the mean over the group's opportunities."""
    e_value: Floats
    """Evidence against the planned split within the group, at most `MOST_EVIDENCE`."""
    mean_e_value: Floats
    """At the end of every block of `blocks`: the mean e-value of the groups that were seen by then."""


def ratios_within(
    block: Ints, group: Ints, variant: Ints, control: Ints, *, split: Floats, blocks: int
) -> GroupRatios:
    """Checks the planned split within groups, at the end of every block.

    Each group has the e-value of the module's docstring, with `GROUP_CONCENTRATION`. When the planned split changes, a
    group's e-value starts at 1 again and is multiplied by the one before. The mean of the groups' e-values, over the
    groups seen so far, is evidence that some group deviates. As long as no group does, it ever reaches 1/alpha with
    probability at most alpha times 1 + 1/2 + … + 1/K, where K is the number of groups at the end (Chow 1960, "A
    martingale inequality and the law of large numbers", with the weights 1/K of the moments).

    Args:
        block: Index of each row's block; a row holds the counts of one group in one block.
        group: Each row's group.
        variant: Opportunities of the variant in each row.
        control: Opportunities of the control in each row.
        split: Planned share of the variant in each block of `blocks`, NaN where it is not known: such rows are left
            out.
        blocks: Number of blocks.
    """
    known = np.isfinite(split[block])
    order = np.lexsort((block[known], group[known]))
    at, of, v, c = (column[known][order] for column in (block, group, variant, control))
    groups, first, place = np.unique(of, return_index=True, return_inverse=True)
    if not len(of):
        nothing = np.zeros(0)
        return GroupRatios(groups, v, c, nothing, nothing, np.ones(blocks))
    planned = split[at]
    begins = np.append(True, (place[1:] != place[:-1]) | (planned[1:] != planned[:-1]))
    since = np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))
    s, f = (np.cumsum(counts) - (np.cumsum(counts) - counts)[since] for counts in (v, c))
    log_e = np.empty(len(at))
    for one in np.unique(planned):
        here = planned == one
        log_e[here] = log_e_value(s[here], f[here], split=float(one), concentration=GROUP_CONCENTRATION)
    starts = np.flatnonzero(begins)
    for start, end in zip(starts[1:], np.append(starts[2:], len(at)), strict=True):
        if (
            place[start] == place[start - 1]
        ):  # the same group under its next split: the e-values are multiplied
            log_e[start:end] += log_e[start - 1]
    e = np.exp(np.minimum(log_e, np.log(MOST_EVIDENCE)))
    fresh = np.zeros(len(at), dtype=bool)
    fresh[first] = True
    gained = np.bincount(at, np.where(fresh, e, np.diff(e, prepend=0.0)), minlength=blocks)
    seen = np.cumsum(np.bincount(at[first], minlength=blocks))
    last = np.append(first[1:], len(at)) - 1
    totals_v, totals_c = (
        np.bincount(place, counts, minlength=len(groups)).astype(np.int64) for counts in (v, c)
    )
    weighed = np.bincount(place, planned * (v + c), minlength=len(groups))
    return GroupRatios(
        group=groups,
        variant=totals_v,
        control=totals_c,
        split=weighed / np.maximum(totals_v + totals_c, 1),
        e_value=e[last],
        mean_e_value=np.where(seen > 0, np.cumsum(gained) / np.maximum(seen, 1), 1.0),
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
    """Log e-values, first block counted and split of every block, after one more change of the split.

    It tries all moments between two blocks, and all blocks in which the change may lie; such a block is left out.
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
    """Natural logarithm of the e-value against `split` at cumulative counts (equation in the module's docstring).

    With a planned share of 0 or 1, a single opportunity of the arm that should get none is infinite evidence.
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
