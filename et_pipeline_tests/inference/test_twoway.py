"""The interval path against direct O(n²) sums, statsmodels, and what must hold for any data."""

from __future__ import annotations

import time

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from et_pipeline.inference import boundary, cells, serial, twoway

ALPHA, G = 0.05, boundary.solve_g(30, 0.05)
HOUR = 3_600_000_000


def sample(seed, *, markets=12, blocks=40, pairs=400):
    rng = np.random.default_rng(seed)
    block, market = rng.integers(0, blocks, pairs), rng.integers(0, markets, pairs)
    uplift = rng.normal(size=pairs) + rng.normal(size=blocks)[block] + rng.normal(size=markets)[market]
    return block * HOUR, market, uplift


def path(block, market, uplift, **options):
    return twoway.interval_path(cells.from_pairs(block, market, uplift), alpha=ALPHA, g=G, **options)


def direct(block, market, uplift):
    """Two-way variance as a double sum over couples that share a market or a block; then the boundary."""
    n, residual = len(uplift), uplift - uplift.mean()
    same_market, same_block = market[:, None] == market, block[:, None] == block
    couples = np.outer(residual, residual)
    raw = max(couples[kind].sum() for kind in (same_market | same_block, same_market, same_block))

    blocks, position = np.unique(block, return_inverse=True)
    apart = position[:, None] - position
    rho = [couples[(apart == lag) & ~same_market].sum() / couples[same_block].sum() for lag in range(1, 22)]
    size = n**2 / same_block.sum()
    b = max(size, 6.0)
    a = min(max((b * rho[0] + 1) / (b - 4), 0.0), 0.95)
    factor = 1.0
    for bias in (0, 1, 1):
        shifted = [1.0] + [r + bias * min(factor, b / 4) / b for r in rho]
        kept, lowest = [], np.inf
        for k in range(11):
            pair = shifted[2 * k] + shifted[2 * k + 1]
            if pair <= (0 if k == 0 else np.sqrt(2 / b) / 2):
                break
            lowest = min(lowest, pair)
            kept.append(lowest)
        tail = 0.0
        if len(kept) >= 4 and b >= 100:  # the rest goes on to decline as it did
            decline = min((kept[-1] / kept[1]) ** (1 / (len(kept) - 2)), 0.9)
            tail = sum(kept[-1] * decline**k for k in range(1, 500))
        factor = max(2 * (sum(kept) + tail) - 1, 1.0)
    factor = max(factor, (1 + a) / (1 - a))

    def corrected(couple, groups):
        return couples[couple].sum() * groups / (groups - 1)

    by_market = corrected(same_market, len(np.unique(market)))
    by_block = corrected(same_block, len(blocks)) * factor
    by_cell = corrected(same_market & same_block, len(np.unique(np.column_stack((block, market)), axis=0)))
    variance = max(by_market + by_block - by_cell, by_market, by_block)
    clusters = min(n**2 / same_market.sum(), size / (factor * (1 + 2.5 / np.sqrt(b))))
    return np.sqrt(raw) / n, np.sqrt(variance) / n, clusters, factor


@pytest.mark.parametrize("seed", range(5))
def test_latest_row_is_the_double_sum_over_pairs(seed):
    data = sample(seed)
    got = path(*data).at(-1)
    assert (got.se_raw, got.se, got.clusters, got.serial_factor) == pytest.approx(direct(*data), rel=1e-9)


def test_every_row_is_the_double_sum_over_the_pairs_up_to_it():
    rng = np.random.default_rng(11)
    block, market, uplift = sample(11)
    uplift = uplift + np.cumsum(rng.normal(size=40))[block // HOUR]  # blocks with a memory
    whole = path(block, market, uplift)
    for row in range(1, len(whole.block)):
        seen = block <= whole.block[row]
        got = (whole.se_raw[row], whole.se[row], whole.clusters[row], whole.serial_factor[row])
        assert got == pytest.approx(direct(block[seen], market[seen], uplift[seen]), rel=1e-7)
    assert whole.serial_factor.max() > 3


def test_a_memory_that_is_long_is_followed_beyond_its_noise():
    rng = np.random.default_rng(5)
    shocks = lfilter([1.0], [1.0, -0.9], rng.normal(size=400))
    block = np.repeat(np.arange(400) * HOUR, 5)
    data = block, rng.integers(0, 30, 2000), shocks[block // HOUR] + rng.normal(0, 3, 2000)
    got = path(*data).at(-1)
    assert (got.se_raw, got.se, got.clusters, got.serial_factor) == pytest.approx(direct(*data), rel=1e-9)
    assert got.serial_factor > 5


@pytest.mark.parametrize("seed", range(5))
def test_each_way_equals_statsmodels(seed):
    block, market, uplift = sample(seed)
    got = path(block, market, uplift).at(-1)
    fit = sm.OLS(uplift, np.ones((len(uplift), 1))).fit()
    second = np.unique(block, return_inverse=True)[1]
    both, by_market, by_block = (
        float(np.squeeze(v)) for v in cov_cluster_2groups(fit, market, group2=second)
    )
    assert got.se_market**2 * got.n_markets / (got.n_markets - 1) == pytest.approx(by_market, rel=1e-10)
    assert got.se_block**2 * got.n_blocks / (got.n_blocks - 1) == pytest.approx(by_block, rel=1e-10)
    by_cell = by_market + by_block - both
    by_block *= got.serial_factor
    expected = max(by_market + by_block - by_cell, by_market, by_block)
    assert got.se**2 == pytest.approx(expected, rel=1e-10)


PAIRS = st.lists(
    st.tuples(st.integers(0, 14), st.integers(0, 6), st.floats(-100, 100)), min_size=1, max_size=60
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def same(one, other, *, scale=1.0, fields=("mean", "se", "ci_lower", "ci_upper")):
    for name in fields:
        got, expected = getattr(one, name), getattr(other, name)
        # A variance is a difference of sums: its root carries the root of their rounding.
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=2e-4 * scale, err_msg=name)


@given(PAIRS, st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_merging_in_any_order_and_grouping_gives_the_same_path(pairs, seed, groups):
    order = np.random.default_rng(seed).permutation(len(pairs[0]))
    parts = [cells.from_pairs(*(column[i] for column in pairs)) for i in np.array_split(order, groups)]
    merged = twoway.interval_path(cells.merge(*parts), alpha=ALPHA, g=G)
    same(merged, path(*pairs))


@given(PAIRS, st.floats(-1000, 1000), st.floats(0.01, 100))
def test_shift_and_scale_shift_and_scale_the_interval(pairs, shift, scale):
    block, market, uplift = pairs
    base, moved = path(block, market, uplift), path(block, market, shift + scale * uplift)
    expected = base._replace(
        mean=shift + scale * base.mean,
        se=scale * base.se,
        ci_lower=shift + scale * base.ci_lower,
        ci_upper=shift + scale * base.ci_upper,
    )
    same(moved, expected, scale=max(scale, 1.0))


@given(PAIRS)
def test_flipping_the_direction_mirrors_the_interval(pairs):
    block, market, uplift = pairs
    base, mirrored = path(block, market, uplift), path(block, market, -uplift)
    same(mirrored, base._replace(mean=-base.mean, ci_lower=-base.ci_upper, ci_upper=-base.ci_lower))
    np.testing.assert_allclose(mirrored.e_value, base.e_value, rtol=1e-6)


@given(PAIRS, st.integers(0, 14))
def test_the_path_at_a_block_is_the_interval_of_the_data_up_to_it(pairs, block):
    data = cells.from_pairs(*pairs)
    whole = twoway.interval_path(data, alpha=ALPHA, g=G)
    part = twoway.interval_path(data.up_to(block), alpha=ALPHA, g=G)
    same(part, twoway.IntervalPath(*(column[: len(part.block)] for column in whole)))


@given(PAIRS, st.floats(-50, 50))
def test_e_value_reaches_one_over_alpha_exactly_when_null_is_outside(pairs, null):
    got = path(*pairs, null=null)
    decided = np.abs(got.e_value * ALPHA - 1) > 1e-6  # on the very edge rounding decides
    outside = (got.ci_lower > null) | (got.ci_upper < null)
    np.testing.assert_array_equal((got.e_value >= 1 / ALPHA)[decided], outside[decided])
    np.testing.assert_allclose(got.p_value, np.minimum(1, 1 / got.e_value))


def test_limits_at_the_same_alpha_are_the_interval_and_wider_at_a_smaller_one():
    got = path(*sample(2))
    lower, upper = twoway.limits(got, alpha=ALPHA, g=G)
    np.testing.assert_array_equal((lower, upper), (got.ci_lower, got.ci_upper))
    assert twoway.limits(got, alpha=0.01, g=G)[1][-1] > upper[-1]


def test_values_of_1e9_with_a_spread_of_1e_minus_3_keep_their_interval():
    block, market, uplift = sample(4)
    # Multiples of 2⁻²⁰ are exact at 1e9 + 1e-3, so both data sets have the very same deviations.
    steps = np.round(uplift * 1e-3 * 2**20)
    near, far = path(block, market, steps / 2**20), path(block, market, 1e9 + steps / 2**20)
    # 2⁻²³ is the spacing of numbers at 1e9: the mean cannot be nearer than that.
    np.testing.assert_allclose(far.se, near.se, rtol=1e-3)
    np.testing.assert_allclose(far.mean - 1e9, near.mean, atol=2**-22)


def test_no_cells_give_no_rows():
    assert all(len(column) == 0 for column in twoway.interval_path(cells.merge(), alpha=ALPHA, g=G))


def test_one_pair_concludes_nothing():
    got = path([0], [0], [3.0]).at(-1)
    assert (got.mean, got.ci_lower, got.ci_upper, got.e_value, got.p_value) == (3, -np.inf, np.inf, 1, 1)
    assert not got.ready


@pytest.mark.parametrize("single", ["market", "block"])
def test_one_cluster_of_either_kind_concludes_nothing(single):
    block, market, uplift = sample(1)
    block, market = (block, np.zeros_like(market)) if single == "market" else (np.zeros_like(block), market)
    got = path(block, market, uplift)
    assert np.isinf(got.ci_upper).all()
    assert not got.ready.any()


@pytest.mark.parametrize("value", [0.0, 0.1, -7e8])
def test_no_spread_is_no_evidence(value):
    block, market, uplift = sample(1)
    got = path(block, market, np.full_like(uplift, value))
    assert got.mean[-1] == pytest.approx(value, rel=1e-15)
    assert got.se[-1] == 0
    assert not got.ready.any()


def test_early_rows_without_spread_stay_so_when_later_values_differ():
    block, market, uplift = sample(1)
    uplift = np.where(block < 20 * HOUR, 0.0, 1e3 + uplift)
    got = path(block, market, uplift)
    assert not got.ready[got.block < 20 * HOUR].any()
    assert got.se[-1] > 0


def test_ready_needs_ten_effective_clusters():
    block, market, uplift = sample(3, markets=9)
    assert not path(block, market, uplift).ready.any()
    block, market, uplift = sample(3, markets=14)
    got = path(block, market, uplift)
    np.testing.assert_array_equal(got.ready, got.clusters >= 10)
    assert got.ready[-1]


def test_a_random_walk_of_blocks_concludes_nothing():
    rng = np.random.default_rng(8)
    block, market = np.repeat(np.arange(400), 30), np.tile(np.arange(30), 400)
    uplift = np.cumsum(rng.normal(size=400))[block] + 0.1 * rng.normal(size=len(block))
    got = path(block, market, uplift)
    assert got.autocorrelation[-1] > twoway.MAX_AUTOCORRELATION
    assert not got.ready[-1]


def test_gaps_between_blocks_do_not_hide_their_memory():
    """Nights and weekends without pairs: lags count blocks that have pairs."""
    block, market, uplift = sample(6)
    gappy = block + 16 * HOUR * (block // (8 * HOUR))
    np.testing.assert_array_equal(path(gappy, market, uplift).se, path(block, market, uplift).se)


def test_a_lasting_effect_of_short_lived_markets_is_not_counted_as_memory_of_blocks():
    factors, naive = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        market = np.repeat(np.arange(200), 20)
        block = market + np.tile(np.arange(20), 200)
        uplift = rng.normal(size=200)[market] + 3 * rng.normal(size=len(market))
        factors.append(path(block, market, uplift).serial_factor[-1])
        # The same blocks where nobody can tell whose memory it is: every pair its own market.
        naive.append(path(block, np.arange(len(block)), uplift).serial_factor[-1])
    assert np.median(factors) < 1.1
    assert np.median(naive) > 1.5


@pytest.mark.parametrize("phi", [0.0, 0.6])
def test_serial_factor_estimates_the_long_run_variance(phi):
    """Shocks that are hidden at lag 1 by noise as large as they: the truth is 1 + 2·½·φ/(1−φ)."""
    rng = np.random.default_rng(3)
    got = []
    for _ in range(20):
        shock = rng.normal(size=1500) * np.sqrt(1 - phi**2)
        for i in range(1, 1500):
            shock[i] += phi * shock[i - 1]
        uplift = shock + rng.normal(size=1500)
        got.append(path(np.arange(1500), np.arange(1500), uplift).serial_factor[-1])
    assert np.mean(got) == pytest.approx(1 + phi / (1 - phi), rel=0.12)


def test_a_year_of_hours_is_fast():
    rng = np.random.default_rng(1)
    data = cells.from_pairs(
        rng.integers(0, 1500, 300_000), rng.integers(0, 60, 300_000), rng.normal(size=300_000)
    )
    started = time.perf_counter()
    twoway.interval_path(data, alpha=ALPHA, g=G)
    assert time.perf_counter() - started < 2
    assert serial.LAGS % 2 == 1
