"""Two arms without pairs, compared with regression with two-way clusters and with the plain delta method."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference import boundary
from et_pipeline.inference.arms import HOUR, adjusted, predicted, shrunken_ratio, spread
from et_pipeline.inference.power import Assumptions
from et_pipeline.inference.ratio import RatioCells, merge, ratio_path

OPTIONS = {"alpha": 0.05, "g": boundary.solve_g(20, 0.05)}


class Sample:
    """Trades of both arms, a tenth of them the variant's; markets and hours of the day differ."""

    def __init__(self, seed=0, trades=2000, markets=12, blocks=96, level=200.0, market_sd=2.0):
        rng = np.random.default_rng(seed)
        self.block = rng.integers(0, blocks, trades) * HOUR
        self.market = rng.integers(0, markets, trades)
        self.variant = rng.random(trades) < 0.1
        self.value = level + rng.normal(size=trades) + market_sd * rng.normal(size=markets)[self.market]
        self.value += rng.normal(size=24)[self.block // HOUR % 24]

    def cells(self, value=None, chosen=None):
        chosen = np.ones(len(self.block), dtype=bool) if chosen is None else chosen
        value = self.value if value is None else value
        arm = np.stack((self.variant, ~self.variant), axis=1).astype(np.float64)
        totals = np.stack((arm * value[:, None], arm), axis=2).reshape(-1, 4)
        return merge(RatioCells(self.block[chosen], self.market[chosen], arm[chosen], totals[chosen]))

    def predictions(self):
        """The prediction of each trade's cell."""
        cells = self.cells()
        found = predicted(cells.block, cells.market, cells.totals[:, 2], cells.totals[:, 3])
        place = {key: i for i, key in enumerate(zip(cells.block, cells.market, strict=True))}
        return found[[place[key] for key in zip(self.block, self.market, strict=True)]]


def both_paths(sample):
    """Unadjusted and adjusted."""
    cells = sample.cells()
    return ratio_path(cells, **OPTIONS), ratio_path(adjusted(cells), **OPTIONS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("adjust", [False, True])
def test_the_latest_row_is_a_regression_with_two_way_clusters(seed, adjust):
    """statsmodels on single trades: value (less its prediction) on a constant and the arm."""
    sample = Sample(seed)
    cells, value = sample.cells(), sample.value
    if adjust:
        cells, value = adjusted(cells), value - sample.predictions()
    fit = sm.OLS(value, sm.add_constant(sample.variant.astype(float))).fit(
        cov_type="cluster",
        cov_kwds={"groups": np.column_stack((sample.market, sample.block // HOUR)), "use_correction": False},
    )
    got = ratio_path(cells, **OPTIONS).at(-1)
    assert got.mean == pytest.approx(fit.params[1], rel=1e-9)
    sandwich = fit.cov_params()[1, 1]
    at_least = max(got.se_market**2, got.se_block**2)  # we never go below either way alone
    assert got.se_raw**2 == pytest.approx(max(sandwich, at_least), rel=1e-7)
    one_way = sm.OLS(value, sm.add_constant(sample.variant.astype(float))).fit(
        cov_type="cluster", cov_kwds={"groups": sample.market, "use_correction": False}
    )
    assert got.se_market == pytest.approx(one_way.bse[1], rel=1e-7)


def test_each_row_tells_the_trades_and_the_clusters_of_the_smaller_arm():
    sample = Sample(1)
    path = ratio_path(sample.cells(), **OPTIONS)
    for row, last in enumerate(path.block):
        seen = sample.block <= last
        smaller = min((sample.variant & seen).sum(), (~sample.variant & seen).sum())
        assert path.n_pairs[row] == smaller
    counts = [np.bincount(sample.block[sample.variant == arm] // HOUR) for arm in (False, True)]
    assert path.block_clusters[-1] == pytest.approx(min(n.sum() ** 2 / (n**2).sum() for n in counts))


def test_a_prediction_comes_from_earlier_blocks_and_from_the_control_alone():
    sample = Sample(2)
    cells = sample.cells()
    found = predicted(cells.block, cells.market, cells.totals[:, 2], cells.totals[:, 3])
    for cut in (1, 7, 40):
        past = cells.block < cut * HOUR
        later = cells.totals.copy()
        later[~past] = 1e6
        changed = predicted(cells.block, cells.market, later[:, 2], cells.totals[:, 3])
        upto = cells.block <= cut * HOUR
        np.testing.assert_array_equal(changed[upto], found[upto])
    moved = sample.cells(sample.value + 50.0 * sample.variant)
    np.testing.assert_array_equal(
        predicted(moved.block, moved.market, moved.totals[:, 2], moved.totals[:, 3]), found
    )


def test_a_row_of_the_adjusted_path_does_not_depend_on_what_comes_later():
    sample = Sample(3)
    whole = ratio_path(adjusted(sample.cells()), **OPTIONS)
    part = ratio_path(adjusted(sample.cells(chosen=sample.block < 50 * HOUR)), **OPTIONS)
    for name in ("mean", "se", "clusters", "e_value"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[: len(part.block)])


def test_an_uplift_moves_the_adjusted_difference_by_as_much():
    sample = Sample(4)
    one, other = (
        ratio_path(adjusted(sample.cells(sample.value + uplift * sample.variant)), **OPTIONS)
        for uplift in (0.0, 3.0)
    )
    np.testing.assert_allclose(other.mean - one.mean, 3.0, atol=1e-9)
    np.testing.assert_allclose(other.se, one.se, rtol=1e-6)


def test_which_arm_is_first_turns_the_difference_round():
    sample = Sample(5)
    cells = sample.cells()
    swapped = cells._replace(n=cells.n[:, ::-1], totals=cells.totals[:, [2, 3, 0, 1]])
    one = ratio_path(adjusted(cells), **OPTIONS)
    other = ratio_path(adjusted(swapped, control=0), **OPTIONS)
    np.testing.assert_allclose(one.mean, -other.mean, rtol=1e-9)
    np.testing.assert_allclose(one.se, other.se, rtol=1e-9)


def test_the_adjustment_takes_out_what_markets_have_in_common():
    plain, taken_out = both_paths(Sample(6))
    assert taken_out.se[-1] < 0.7 * plain.se[-1]


def test_where_no_market_differs_the_adjustment_changes_next_to_nothing():
    sample = Sample(7, market_sd=0.0)
    sample.value = 200 + np.random.default_rng(7).normal(size=len(sample.value))
    plain, taken_out = both_paths(sample)
    assert taken_out.se[-1] == pytest.approx(plain.se[-1], rel=0.05)
    assert taken_out.mean[-1] == pytest.approx(plain.mean[-1], abs=0.5 * plain.se[-1])


def test_shrinkage_is_that_of_the_random_effects_it_finds():
    """Many groups and cells: the weight is the one of the true variances, σ² = 1 and τ² = 0.25."""
    rng = np.random.default_rng(8)
    groups, blocks, size = 400, 40, 5
    effect = 0.5 * rng.normal(size=groups)
    block = np.repeat(np.arange(blocks), groups)
    group = np.tile(np.arange(groups), blocks)
    numerator = size * effect[group] + np.sqrt(size) * rng.normal(size=groups * blocks)
    found = shrunken_ratio(block, group, numerator, np.full(groups * blocks, float(size)))
    past = block < blocks - 1
    own = np.bincount(group[past], numerator[past]) / (size * (blocks - 1))
    seen = size * (blocks - 1)
    expected = own.mean() + seen / (seen + 1 / 0.25) * (own - own.mean())
    np.testing.assert_allclose(found[~past], expected, atol=0.01)


def test_an_arm_without_any_trade_has_no_interval():
    sample = Sample(9)
    sample.variant[:] = False
    path = ratio_path(adjusted(sample.cells()), **OPTIONS)
    assert np.isnan(path.mean).all()
    assert not path.ready.any()
    assert (path.n_pairs == 0).all()
    assert np.isinf(path.ci_upper).all()


def test_without_a_trade_of_the_control_nothing_is_predicted():
    sample = Sample(10, trades=200)
    sample.variant[:] = True
    cells = sample.cells()
    np.testing.assert_array_equal(adjusted(cells).totals, cells.totals)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 4), st.booleans(), st.integers(-50, 50)),
        min_size=1,
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_trades_does_not_matter(trades, random):
    def found(rows):
        block, market, variant, value = (np.array(column) for column in zip(*rows, strict=True))
        arm = np.stack((variant, ~variant), axis=1).astype(np.float64)
        totals = np.stack((arm * value[:, None], arm), axis=2).reshape(-1, 4)
        return adjusted(merge(RatioCells(block * HOUR, market, arm, totals))).totals

    shuffled = random.sample(trades, len(trades))
    np.testing.assert_array_equal(found(shuffled), found(trades))
    assert np.isfinite(found(trades)).all()


def traffic(seed, split, trades=4000, markets=30, blocks=96, uplift_sd=0.6):
    """Cells of trades with a standard deviation of 1 and an uplift of their own in each market."""
    rng = np.random.default_rng((seed, round(100 * split)))
    block, market = rng.integers(0, blocks, trades) * HOUR, rng.integers(0, markets, trades)
    variant = rng.random(trades) < split
    value = rng.normal(size=trades) + np.where(variant, uplift_sd * rng.normal(size=markets)[market], 0.0)
    arm = np.stack((variant, ~variant), axis=1).astype(np.float64)
    totals = np.stack((arm * value[:, None], arm), axis=2).reshape(-1, 4)
    return merge(RatioCells(block, market, arm, totals))


def test_the_spread_tells_single_trades_from_an_uplift_that_differs_between_markets():
    """Means over 60 experiments; the Monte Carlo error of each is below a tenth of the figure."""
    found = [spread(traffic(seed, 0.1)) for seed in range(60)]
    between = np.mean([one.within_market * one.sd**2 for one in found])
    own = np.mean([(1 - one.within_market - one.within_block) * one.sd**2 for one in found])
    assert between == pytest.approx(0.36, rel=0.15)
    assert own == pytest.approx(1 / 0.9, rel=0.1)
    assert np.mean([one.within_block * one.sd**2 for one in found]) < 0.05


@pytest.mark.parametrize("split", [0.05, 0.25, 0.5, 0.9])
def test_another_split_has_the_standard_error_that_is_expected_of_it(split):
    """Over 300 experiments; the Monte Carlo error of a standard deviation is 4 %. The model adds 1.6/√B for lags."""
    blocks = 96
    known = Assumptions(sd=np.sqrt(1 / 0.9 + 0.36), within_market=0.36 / (1 / 0.9 + 0.36), within_block=0.0,
                        pairs_per_block=4000 * 0.1 / blocks, markets=30)  # fmt: skip
    estimates = []
    for seed in range(300):
        totals = traffic(seed, split).totals.sum(axis=0)
        estimates.append(totals[0] / totals[1] - totals[2] / totals[3])
    assert known.at_split(0.1, split).standard_error(blocks) == pytest.approx(np.std(estimates), rel=0.16)


@given(st.floats(0.02, 0.98), st.floats(0.02, 0.98))
def test_there_and_back_is_the_same_split(one, other):
    known = Assumptions(sd=3.0, within_market=0.1, within_block=0.05, pairs_per_block=7.0, markets=30)
    back = known.at_split(one, other).at_split(other, one)
    assert back == pytest.approx(known)


def test_without_a_trade_of_an_arm_there_is_no_spread():
    cells = traffic(0, 0.1)
    assert spread(cells._replace(totals=cells.totals * [1, 1, 0, 0])) is None
    assert spread(cells._replace(totals=cells.totals * [0, 1, 0, 1])) is None
