"""Ratio metrics, compared with a direct delta method, and with the mean in cases where both are the same."""

from __future__ import annotations

import numpy as np
import pytest

from et_pipeline.inference import boundary, cells, ratio, twoway

OPTIONS = {"alpha": 0.05, "g": boundary.solve_g(20, 0.05)}


def sample(seed=0, pairs=300, markets=8, blocks=25):
    rng = np.random.default_rng(seed)
    block, market = rng.integers(0, blocks, pairs), rng.integers(0, markets, pairs)
    asked = rng.lognormal(3, 1, (pairs, 2))
    filled = asked * rng.beta(3, 2, (pairs, 2))
    variant, control = (np.column_stack((filled[:, i], asked[:, i])) for i in (0, 1))
    return block, market, variant, control


def direct(block, market, variant, control):
    """Linearised pair by pair, then summed over all couples that share a market or a block."""
    (nv, dv), (nc, dc) = variant.T, control.T
    influence = (nv - nv.sum() / dv.sum() * dv) / dv.sum() - (nc - nc.sum() / dc.sum() * dc) / dc.sum()
    couples = np.outer(influence, influence)
    same_market, same_block = market[:, None] == market, block[:, None] == block
    variance = max(couples[kind].sum() for kind in (same_market | same_block, same_market, same_block))
    return nv.sum() / dv.sum() - nc.sum() / dc.sum(), np.sqrt(variance)


@pytest.mark.parametrize("seed", range(4))
def test_latest_row_is_the_direct_delta_method(seed):
    data = sample(seed)
    got = ratio.ratio_path(ratio.from_pairs(*data), **OPTIONS).at(-1)
    assert (got.mean, got.se_raw) == pytest.approx(direct(*data), rel=1e-10)


def test_every_row_is_the_direct_delta_method_of_the_data_up_to_it():
    block, market, variant, control = sample(9)
    path = ratio.ratio_path(ratio.from_pairs(block, market, variant, control), **OPTIONS)
    for row, last in enumerate(path.block):
        seen = block <= last
        expected = direct(block[seen], market[seen], variant[seen], control[seen])
        assert (path.mean[row], path.se_raw[row]) == pytest.approx(expected, rel=1e-9)


def test_denominators_of_one_give_the_interval_of_the_mean():
    block, market, variant, control = sample(3)
    variant[:, 1] = control[:, 1] = 1.0
    got = ratio.ratio_path(ratio.from_pairs(block, market, variant, control), **OPTIONS)
    mean = twoway.interval_path(cells.from_pairs(block, market, variant[:, 0] - control[:, 0]), **OPTIONS)
    for name in twoway.IntervalPath._fields:
        np.testing.assert_allclose(
            getattr(got, name), getattr(mean, name), rtol=1e-7, atol=1e-6, err_msg=name
        )


def test_swapped_arms_mirror_the_interval():
    block, market, variant, control = sample(4)
    one = ratio.ratio_path(ratio.from_pairs(block, market, variant, control), **OPTIONS)
    other = ratio.ratio_path(ratio.from_pairs(block, market, control, variant), **OPTIONS)
    np.testing.assert_allclose(one.ci_lower, -other.ci_upper, rtol=1e-9)
    np.testing.assert_allclose(one.se, other.se, rtol=1e-9)


def test_order_and_grouping_do_not_matter():
    block, market, variant, control = sample(5)
    whole = ratio.from_pairs(block, market, variant, control)
    order = np.random.default_rng(0).permutation(len(block))
    parts = [ratio.from_pairs(block[i], market[i], variant[i], control[i]) for i in np.array_split(order, 7)]
    merged = ratio.merge(*parts)
    np.testing.assert_array_equal(merged.block, whole.block)
    np.testing.assert_array_equal(merged.market, whole.market)
    np.testing.assert_allclose(merged.totals, whole.totals, rtol=1e-12)


def test_no_estimate_before_both_denominators_are_above_zero():
    block, market = [0, 0, 1, 1], [0, 1, 0, 1]
    nothing_asked = [[0, 0], [0, 0], [1, 2], [1, 4]]
    got = ratio.ratio_path(ratio.from_pairs(block, market, nothing_asked, [[1, 2]] * 4), **OPTIONS)
    assert np.isnan(got.mean[0])
    assert (got.ci_lower[0], got.ci_upper[0], got.e_value[0], got.ready[0]) == (-np.inf, np.inf, 1.0, False)
    assert got.mean[1] == pytest.approx(2 / 6 - 0.5)


@pytest.mark.parametrize("bad", [[[1, -1]], [[np.nan, 1]]])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="denominators"):
        ratio.from_pairs([0], [0], bad, [[1, 1]])


def test_where_few_trades_hold_most_of_the_size_there_are_as_few_effective_clusters() -> None:
    block, market = np.arange(400) // 4 * 3_600_000_000, np.arange(400) % 40
    size = np.where(np.arange(400) == 17, 1e4, 1.0)
    arm = np.column_stack((np.sin(np.arange(400)) * size, size))
    of_pairs = ratio.from_pairs(block, market, arm, np.roll(arm, 4, axis=0))
    plain = ratio.ratio_path(of_pairs, **OPTIONS).at(-1)
    sized = ratio.ratio_path(of_pairs, **OPTIONS, by_size=True).at(-1)
    assert plain.clusters == pytest.approx(40)
    assert 1.0 < sized.market_clusters < 1.2
    assert plain.ready and not sized.ready and plain.mean == sized.mean


def test_two_differences_are_compared_as_pair_by_pair() -> None:
    """As breakdowns do it: one value's difference of ratios less that of all others, in the same blocks and markets."""
    block, market, variant, control = sample(seed=4)
    inside = np.random.default_rng(5).random(len(block)) < 0.3
    arms = np.hstack((variant, control))
    own, rest = arms * inside[:, None], arms * ~inside[:, None]
    of_pairs = ratio.RatioCells(block, market, np.ones(len(block)), np.hstack((own, rest)))
    keys, cell = np.unique(np.column_stack((block, market)), axis=0, return_inverse=True)
    sums = np.zeros((len(keys), 9))
    np.add.at(sums, cell.ravel(), np.column_stack((of_pairs.n, of_pairs.totals)))
    merged = ratio.RatioCells(keys[:, 0], keys[:, 1], sums[:, 0], sums[:, 1:])
    got = ratio.ratio_path(merged, **OPTIONS).at(-1)

    def influence(part):
        totals = part.sum(axis=0)
        numerators, denominators = part[:, ::2], part[:, 1::2]
        each = (numerators - totals[::2] / totals[1::2] * denominators) / totals[1::2]
        return totals[0] / totals[1] - totals[2] / totals[3], each[:, 0] - each[:, 1]

    (mine, of_mine), (theirs, of_theirs) = influence(own), influence(rest)
    couples = np.outer(of_mine - of_theirs, of_mine - of_theirs)
    same_market, same_block = market[:, None] == market, block[:, None] == block
    variance = max(couples[kind].sum() for kind in (same_market | same_block, same_market, same_block))
    assert got.mean == pytest.approx(mine - theirs)
    assert got.se >= 0.98 * np.sqrt(variance), "never below the plain two-way one"
    assert got.se == pytest.approx(np.sqrt(variance), rel=0.3)


def test_by_size_it_is_what_statsmodels_finds_with_two_way_clusters() -> None:
    """A regression of the value on the arm, weighted by size: the same estimate and the same sandwich."""
    sm = pytest.importorskip("statsmodels.api")
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    rng = np.random.default_rng(11)
    pairs = 600
    block, market = rng.integers(0, 60, pairs), rng.integers(0, 40, pairs)
    size = rng.pareto(1.5, (pairs, 2)) + 1
    value = (
        rng.normal(size=(pairs, 2))
        + rng.normal(size=40)[market][:, None]
        + rng.normal(size=60)[block][:, None]
    )
    arms = [np.column_stack((value[:, arm] * size[:, arm], size[:, arm])) for arm in (0, 1)]
    path = ratio.ratio_path(ratio.from_pairs(block, market, *arms), **OPTIONS, by_size=True).at(-1)
    regressors = np.column_stack((np.ones(2 * pairs), np.repeat([1.0, 0.0], pairs)))
    fitted = sm.WLS(value.T.ravel(), regressors, weights=size.T.ravel()).fit()
    both, of_market, of_block = cov_cluster_2groups(
        fitted, np.tile(market, 2), np.tile(block, 2), use_correction=False
    )
    assert path.mean == pytest.approx(fitted.params[1], rel=1e-9)
    assert path.se_market == pytest.approx(np.sqrt(of_market[1, 1]), rel=1e-9)
    assert path.se_block == pytest.approx(np.sqrt(of_block[1, 1]), rel=1e-9)
    assert path.se_raw == pytest.approx(np.sqrt(max(both[1, 1], of_market[1, 1], of_block[1, 1])), rel=1e-9)


def test_by_size_its_standard_error_is_that_of_a_bootstrap_over_markets() -> None:
    rng = np.random.default_rng(12)
    pairs, markets = 4000, 400
    market = rng.integers(0, markets, pairs)
    size = rng.pareto(3, (pairs, 2)) + 1
    value = rng.normal(size=(pairs, 2)) + 0.5 * rng.normal(size=(markets, 2))[market]
    arms = [np.column_stack((value[:, arm] * size[:, arm], size[:, arm])) for arm in (0, 1)]
    path = ratio.ratio_path(
        ratio.from_pairs(np.arange(pairs) // 20, market, *arms), **OPTIONS, by_size=True
    ).at(-1)
    totals = np.column_stack([np.bincount(market, column) for arm in arms for column in arm.T])
    drawn = rng.multinomial(markets, np.full(markets, 1 / markets), 2000) @ totals
    spread = (drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]).std(ddof=1)
    assert path.se_market == pytest.approx(spread, rel=4 / np.sqrt(2 * 2000) + 0.02)
