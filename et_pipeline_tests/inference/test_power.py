"""Power compared with simulated experiments and with its limits, and further pairs compared with the boundary."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference import boundary
from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.power import Assumptions, further_pairs, power
from et_pipeline.inference.twoway import interval_path

ALPHA = 0.05
HOURLY = Assumptions(20.0, 0.05, 0.05, pairs_per_block=20.0, markets=40.0, market_life=24.0)


def experiment(rng: np.random.Generator, a: Assumptions, blocks: int, uplift: float) -> Cells:
    """Pairs of the model that the formula assumes; markets are replaced all at once."""
    pairs = int(blocks * a.pairs_per_block)
    block = np.sort(rng.integers(0, blocks, pairs))
    wave = block // a.market_life if math.isfinite(a.market_life) else np.zeros(pairs)
    market = (wave * a.markets).astype(int) + rng.integers(0, int(a.markets), pairs)
    own = rng.normal(0, math.sqrt(1 - a.within_market - a.within_block), pairs)
    of_market = rng.normal(0, math.sqrt(a.within_market), market.max() + 1)[market]
    of_block = rng.normal(0, math.sqrt(a.within_block), blocks)[block]
    return from_pairs(block, market, uplift + a.sd * (of_market + of_block + own))


@pytest.mark.parametrize(
    "assumptions",
    [HOURLY, HOURLY._replace(market_life=math.inf, markets=60.0), HOURLY._replace(within_block=0.0)],
    ids=["markets replaced", "markets stay", "no block effect"],
)
def test_probability_is_that_of_simulated_experiments(assumptions: Assumptions) -> None:
    """The last look within Monte Carlo error and 0.1; looking earlier too may only add, at most 0.15."""
    blocks, experiments = 250, 120
    planned = blocks * assumptions.pairs_per_block
    smallest = power(assumptions, uplift=1.0, planned_pairs=planned, alpha=ALPHA).smallest_uplift
    sized = power(assumptions, uplift=smallest, planned_pairs=planned, alpha=ALPHA)
    g = boundary.solve_g(sized.clusters_at_plan, ALPHA)
    rng = np.random.default_rng(12)
    last = ever = 0
    for _ in range(experiments):
        path = interval_path(experiment(rng, assumptions, blocks, smallest), alpha=ALPHA, g=g)
        decided = path.ready & (path.ci_lower > 0)
        last += bool(decided[-1])
        ever += bool(decided.any())
    error = 2 * math.sqrt(0.16 / experiments)
    assert sized.probability_at_plan == pytest.approx(0.8, abs=1e-3)
    assert last / experiments == pytest.approx(0.8, abs=0.1 + error)
    assert 0.8 - error - 0.05 < ever / experiments < 0.95 + error


def test_answers_agree_with_each_other() -> None:
    sized = power(HOURLY, uplift=1.5, planned_pairs=10_000, alpha=ALPHA)
    again = power(HOURLY, uplift=sized.smallest_uplift, planned_pairs=10_000, alpha=ALPHA)
    assert again.probability_at_plan == pytest.approx(0.8, abs=1e-6)
    assert again.pairs_needed == pytest.approx(10_000, rel=1e-3)
    assert sized.radius_at_plan == pytest.approx(
        boundary.radius(
            sized.se_at_plan, sized.clusters_at_plan, ALPHA, boundary.solve_g(sized.clusters_at_plan, ALPHA)
        )
    )


@given(st.floats(0.2, 5.0), st.floats(1.1, 3.0))
def test_a_larger_uplift_or_a_smaller_spread_needs_fewer_pairs(uplift: float, factor: float) -> None:
    base = power(HOURLY, uplift=uplift, planned_pairs=20_000, alpha=ALPHA)
    assert (
        power(HOURLY, uplift=uplift * factor, planned_pairs=20_000, alpha=ALPHA).pairs_needed
        <= base.pairs_needed
    )
    calmer = HOURLY._replace(sd=HOURLY.sd / factor)
    assert power(calmer, uplift=uplift, planned_pairs=20_000, alpha=ALPHA).pairs_needed <= base.pairs_needed
    scaled = power(
        HOURLY._replace(sd=HOURLY.sd * factor), uplift=uplift * factor, planned_pairs=20_000, alpha=ALPHA
    )
    assert scaled.pairs_needed == pytest.approx(base.pairs_needed, rel=1e-3)


def test_markets_that_stay_set_a_floor_that_no_number_of_pairs_lowers() -> None:
    staying = HOURLY._replace(market_life=math.inf)
    assert math.isinf(power(staying, uplift=1.0, planned_pairs=10_000, alpha=ALPHA).pairs_needed)
    few = power(staying._replace(markets=8.0), uplift=100.0, planned_pairs=10_000, alpha=ALPHA)
    assert (few.probability_at_plan, few.smallest_uplift) == (0.0, math.inf)


def test_minimum_of_pairs_and_distance_from_a_margin_count() -> None:
    sized = power(HOURLY, uplift=50.0, planned_pairs=10_000, alpha=ALPHA, min_pairs=5000)
    assert sized.pairs_needed == pytest.approx(5000, rel=1e-3)
    guarded = power(HOURLY, uplift=0.5, null=-1.0, planned_pairs=10_000, alpha=ALPHA)
    assert guarded.pairs_needed == power(HOURLY, uplift=1.5, planned_pairs=10_000, alpha=ALPHA).pairs_needed


@given(st.floats(0.05, 3.0), st.floats(10, 300), st.floats(0.5, 20))
def test_further_pairs_are_just_enough(mean: float, clusters: float, g: float) -> None:
    n, se = 2000.0, 0.5
    more = further_pairs(mean, se, clusters, n, alpha=ALPHA, g=g)

    def radius(pairs: float) -> float:
        return float(boundary.radius(se * math.sqrt(n / pairs), clusters * pairs / n, ALPHA, g))

    assert radius(n + more + 1) < mean
    assert more == 0 or radius(n + more - 2) >= mean * (1 - 1e-6)


def test_further_pairs_of_other_questions() -> None:
    assert further_pairs(0.0, 0.5, 60, 2000, alpha=ALPHA, g=8.0) == math.inf
    assert 0 < further_pairs(0.0, 0.5, 60, 2000, alpha=ALPHA, g=8.0, equivalence_margin=1.0) < 10_000
    assert further_pairs(0.0, 0.5, 60, 2000, alpha=ALPHA, g=8.0, null=-5.0) == 0
    assert further_pairs(5.0, 0.5, 60, 2000, alpha=ALPHA, g=8.0, min_pairs=3000) == 1000
    assert further_pairs(5.0, 0.1, 5, 2000, alpha=ALPHA, g=8.0) >= 2000
    assert math.isnan(further_pairs(1.0, math.nan, 1, 5, alpha=ALPHA, g=8.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sd": 0.0}, "sd is 0"),
        ({"within_market": 1.2}, "within_market is 1.2"),
        ({"within_market": 0.6, "within_block": 0.6}, "within_block is 0.6"),
        ({"pairs_per_block": 0.0}, "pairs_per_block is 0"),
        ({"markets": 0.5}, "markets is 0.5"),
        ({"block_autocorrelation": 1.0}, "block_autocorrelation is 1"),
    ],
)
def test_bad_assumptions_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power(HOURLY._replace(**change), uplift=1.0, planned_pairs=1000, alpha=ALPHA)
    with pytest.raises(ValueError, match="planned_pairs is 0"):
        power(HOURLY, uplift=1.0, planned_pairs=0, alpha=ALPHA)
    with pytest.raises(ValueError, match="target is 1"):
        power(HOURLY, uplift=1.0, planned_pairs=10, alpha=ALPHA, target=1.0)
