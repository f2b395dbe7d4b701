"""What can a plan with looks decide: when, with which probability, and with all its guardrails?

The model of pairs is that of :class:`et_pipeline.inference.power.Assumptions`. Scores at the looks are then a Brownian
motion with drift, at times 1/se². The plan's boundary is computed from this information in the same way as later from
the data (:mod:`et_pipeline.inference.spending`), as t quantiles. The probability that one metric alone crosses its
boundary is computed exactly, by the recursion. A verdict needs all metrics at the same look. That probability is
simulated, with a fixed seed, from independent Brownian motions, so the errors of the metrics are assumed to be
independent of each other. In fact they are mostly correlated, since all metrics come from the same opportunities; then
the true probability lies between this one and that of the primary alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from et_pipeline.inference import spending
from et_pipeline.inference.cells import Floats
from et_pipeline.inference.horizon import MIN_BLOCKS, first_look
from et_pipeline.inference.power import TARGET, Assumptions
from et_pipeline.inference.twoway import MIN_CLUSTERS

DRAWS = 4000
"""Number of simulated paths; the Monte Carlo error of a probability is at most 0.008."""


class Claim(NamedTuple):
    """What one metric has to show: that its uplift is above `null`."""

    assumptions: Assumptions
    uplift: float
    """Its true mean uplift."""
    null: float = 0.0
    """0, or minus a guardrail's margin."""


class Prospect(NamedTuple):
    """What a plan with looks can be expected to decide."""

    probability: float
    """Probability that the verdict falls within the plan."""
    primary: float
    """Probability that a verdict would fall within the plan if the primary alone decided."""
    expected_share: float
    """Expected share of the plan until it is decided or ends."""
    target_share: float
    """Share of the plan after which it is decided with 80 % probability; infinite where it never is."""
    radius: float
    """Distance from the mean to the lower end of the primary's interval at the last look; infinite where the plan takes
    no look."""


def prospect(claims: Sequence[Claim], *, blocks: float, alpha: float, min_pairs: float = 0.0) -> Prospect:
    """What a plan with a number of blocks can be expected to decide.

    Args:
        claims: What has to be shown about each metric, the primary first.
        blocks: Blocks of the plan.
        alpha: Probability that the intervals of the plan ever miss the truth.
        min_pairs: Pairs below which nothing is concluded.

    Example:
        >>> hourly = Assumptions(sd=20, within_market=0.05, within_block=0.05, pairs_per_block=20, markets=40,
        ...                      market_life=24)
        >>> found = prospect([Claim(hourly, uplift=1.2)], blocks=500, alpha=0.05)
        >>> bool(found.probability == found.primary > 0.5)
        True
    """
    looks = int(min(max(blocks, 1), spending.MOST_LOOKS))
    share = np.arange(1, looks + 1) / looks
    boundaries = [_boundary(claim, share, blocks, alpha, min_pairs) for claim in claims]
    alone = _crossed_alone(claims[0], *boundaries[0])
    decided = alone if len(claims) == 1 else np.minimum(_crossed_together(claims, boundaries), alone[-1])
    reached = decided >= TARGET
    information, upper = boundaries[0]
    return Prospect(
        probability=float(decided[-1]),
        primary=float(alone[-1]),
        expected_share=float(np.sum(1 - np.concatenate(([0.0], decided[:-1]))) / looks),
        target_share=float(share[np.argmax(reached)]) if reached.any() else float("inf"),
        radius=float(upper[-1] / np.sqrt(information[-1])),
    )


def blocks_needed(
    claims: Sequence[Claim], *, alpha: float, min_pairs: float = 0.0, most: float = 1e5
) -> float:
    """Blocks of the shortest plan that decides with 80 % probability; infinite above `most`."""

    def decides(blocks: float) -> bool:
        return prospect(claims, blocks=blocks, alpha=alpha, min_pairs=min_pairs).probability >= TARGET

    low, high = float(MIN_BLOCKS) / 2, float(MIN_BLOCKS)
    while not decides(high):
        low, high = high, 2 * high
        if high > most:
            return float("inf")
    while high - low > max(1.0, 0.01 * high):
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(np.ceil(high))


def smallest_uplift(claims: Sequence[Claim], *, blocks: float, alpha: float, min_pairs: float = 0.0) -> float:
    """Smallest uplift of the primary that a plan with so many blocks decides with 80 % probability.

    Returns:
        The uplift in the metric's unit; infinite where the plan decides none with that probability.
    """
    (primary, *others) = claims
    at_most = primary.assumptions.standard_error(blocks) * 100

    def decides(uplift: float) -> bool:
        moved = [primary._replace(uplift=uplift), *others]
        return prospect(moved, blocks=blocks, alpha=alpha, min_pairs=min_pairs).probability >= TARGET

    low, high = primary.null, primary.null + at_most
    if not decides(high):
        return float("inf")
    while high - low > 1e-3 * at_most / 10:
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _boundary(
    claim: Claim, share: Floats, blocks: float, alpha: float, min_pairs: float
) -> tuple[Floats, Floats]:
    """Information at the looks, and the t statistic from which on the claim is shown; infinite where no look is
    taken."""
    model, at = claim.assumptions, share * blocks
    information = np.array([1 / model.standard_error(b) ** 2 for b in at])
    clusters = np.array([min(model.markets_seen(b), b) for b in at])
    taken = (
        (np.arange(1, len(share) + 1) >= first_look(len(share)))
        & (at >= MIN_BLOCKS)
        & (clusters >= MIN_CLUSTERS)
        & (at * model.pairs_per_block >= min_pairs)
    )
    upper = np.full(len(share), np.inf)
    scores = spending.boundaries(share[taken], information[taken], [alpha])[spending.BETTER, 0]
    degrees = np.array([model.degrees(b) for b in at])
    upper[taken] = spending.t_quantile(scores, degrees[taken] + 1)
    return information, upper


def _crossed_alone(claim: Claim, information: Floats, upper: Floats) -> Floats:
    """Probability that one metric has shown its claim by each look."""
    taken = np.isfinite(upper)
    crossed = np.zeros(len(upper))
    if taken.any():
        drift = (claim.uplift - claim.null) * np.sqrt(information[taken])
        crossed[taken] = spending.crossing(information[taken], upper[taken] - drift)[0]
    found: Floats = np.maximum.accumulate(crossed)
    return found


def _crossed_together(claims: Sequence[Claim], boundaries: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Probability that by each look there was a look at which all metrics had shown their claim; errors independent."""
    rng = np.random.default_rng(1)
    together: NDArray[np.bool_] = np.ones((DRAWS, len(boundaries[0][0])), dtype=bool)
    for claim, (measured, upper) in zip(claims, boundaries, strict=True):
        information = np.maximum.accumulate(measured)
        steps = rng.normal(size=together.shape) * np.sqrt(np.diff(information, prepend=0.0))
        motion = np.cumsum(steps, axis=1) + (claim.uplift - claim.null) * information
        together &= motion / np.sqrt(information) > upper
    found: Floats = np.maximum.accumulate(together, axis=1).mean(axis=0)
    return found
