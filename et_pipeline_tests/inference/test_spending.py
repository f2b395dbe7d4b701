"""The spending boundary against published tables, another implementation, simulation, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from gsdesign import h1, hupdate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from et_pipeline.inference import spending
from et_pipeline.inference.spending import BETTER, WORSE

INFORMATION = st.lists(st.floats(0.01, 10.0), min_size=1, max_size=20).map(lambda steps: np.cumsum(steps))


def times(looks):
    return np.arange(1, looks + 1) / looks


def crossing_by_gsdesign(information, upper, drift=0.0):
    """Crossing probability per look by Jennison & Turnbull's grid (package gsdesign)."""
    grid = h1(r=60, theta=drift, info=information[0], a=-np.inf, b=upper[0])
    survived = [1.0, float(np.sum(grid[2]))]
    for before, now, bound in zip(information, information[1:], upper[1:], strict=False):
        grid = hupdate(60, drift, now, -np.inf, bound, drift, before, grid)
        survived.append(float(np.sum(grid[2])))
    return -np.diff(survived)


# Two-sided tables at 0.05, the boundary at the last look times the root of the shape (Jennison & Turnbull 2000,
# "Group sequential methods", tables 2.1 and 2.3). A symmetric boundary crosses upwards with 0.025, up to the paths
# that would cross on both sides.
@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"), [(5, 2.413, 2.040), (10, 2.555, 2.087), (20, 2.672, 2.126)]
)
def test_published_boundaries_cross_with_their_alpha(looks, pocock, obrien_fleming):
    time = times(looks)
    flat = spending.crossing(time, np.full(looks, pocock))[0, -1]
    falling = spending.crossing(time, obrien_fleming / np.sqrt(time))[0, -1]
    assert flat == pytest.approx(0.025, rel=3e-3)
    assert falling == pytest.approx(0.025, rel=3e-3)


@pytest.mark.parametrize("looks", [5, 10, 20, 64])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_spent_alpha_by_another_implementation(looks, unequal, alpha):
    """Kim & DeMets' power families with ρ = 2 and ρ = 1, equal and unequal information."""
    share = times(looks)
    rng = np.random.default_rng(looks)
    information = np.cumsum(rng.uniform(0.5, 3.0, looks)) if unequal else share
    information = np.maximum.accumulate(information)
    growth = information[1:] / information[:-1]
    information = information[0] * np.append(1.0, np.cumprod(np.maximum(growth, 1 + spending.LEAST_GROWTH)))
    found = spending.boundaries(share, information, [alpha])[:, 0]
    for side, exponent in ((BETTER, 2), (WORSE, 1)):
        crossed = np.cumsum(crossing_by_gsdesign(information, found[side]))
        np.testing.assert_allclose(crossed, alpha / 2 * share**exponent, rtol=2e-4, atol=3e-6)


@pytest.mark.parametrize("drift", [-1.0, 0.5, 2.5, 4.0])
def test_crossing_with_a_drift_by_another_implementation(drift):
    information = times(10)
    upper = spending.boundaries(information, information, [0.05])[BETTER, 0]
    ours = spending.crossing(information, upper - drift * np.sqrt(information))[0]
    theirs = np.cumsum(crossing_by_gsdesign(information, upper, drift))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_simulated_brownian_motion_crosses_with_alpha():
    """200,000 paths: Monte Carlo error 0.00035 at 0.025, held at three of them."""
    rng = np.random.default_rng(3)
    share = times(16)
    information = np.cumsum(rng.uniform(0.2, 2.0, 16))
    found = spending.boundaries(share, information, [0.05])[:, 0]
    steps = np.sqrt(np.diff(information, prepend=0.0))
    scores = np.cumsum(rng.normal(size=(200_000, 16)) * steps, axis=1) / np.sqrt(information)
    for side, exponent in ((BETTER, 2), (WORSE, 1)):
        ever = np.logical_or.accumulate(scores > found[side], axis=1).mean(axis=0)
        assert np.abs(ever - 0.025 * share**exponent).max() < 3 * 0.00035


def test_one_look_is_the_ordinary_interval():
    one = spending.boundaries([1.0], [7.0], [0.05])
    np.testing.assert_allclose(one[:, 0, 0], stats.norm.ppf(0.975), rtol=1e-12)
    assert spending.t_quantile(one[BETTER, 0, 0], 11) == pytest.approx(stats.t.ppf(0.975, 10))


def test_the_price_at_the_planned_size_is_the_designs():
    share = times(64)
    better, worse = spending.boundaries(share, share, [0.05])[:, 0, -1] / stats.norm.ppf(0.975)
    assert better <= 1.20
    assert (better + worse) / 2 <= 1.27


@settings(max_examples=40)
@given(INFORMATION, st.floats(0.001, 0.2), st.data())
def test_spending_never_exceeds_alpha_and_unspent_alpha_is_carried_over(information, alpha, data):
    """Looks left out at random: what is spent by the last one is what the plan allows by then."""
    looks = len(information)
    taken = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=looks, max_size=looks)))
    share = times(looks)[taken]
    found = spending.boundaries(share, information[taken], [alpha])[:, 0]
    for side, exponent in ((BETTER, 2), (WORSE, 1)):
        if len(taken):
            crossed = spending.crossing(information[taken], found[side])[0]
            assert (crossed <= alpha / 2 * share**exponent * (1 + 1e-6)).all()
            assert crossed[-1] == pytest.approx(alpha / 2 * share[-1] ** exponent, rel=1e-5)


@settings(max_examples=40)
@given(INFORMATION, st.floats(0.5, 1e9))
def test_a_row_depends_on_earlier_rows_only_and_not_on_the_unit(information, scale):
    share = times(len(information))
    whole = spending.boundaries(share, information, [0.05, 0.01])
    for row in range(1, len(information) + 1):
        part = spending.boundaries(share[:row], information[:row], [0.05, 0.01])
        np.testing.assert_array_equal(part, whole[:, :, :row])
    np.testing.assert_allclose(
        spending.boundaries(share, information * scale, [0.05, 0.01]), whole, rtol=1e-6
    )


def test_information_that_stands_still_or_falls_does_not_spend_more_than_alpha():
    """The same data at every look cross somewhere with less than alpha: the score is one normal number."""
    share = times(20)
    for information in (np.ones(20), 1 / np.arange(1, 21)):
        found = spending.boundaries(share, information, [0.05])[:, 0]
        for side in (BETTER, WORSE):
            assert stats.norm.sf(found[side].min()) < 0.025
            assert np.isfinite(found[side]).all()


def test_smaller_alphas_have_higher_boundaries():
    share = times(64)
    found = spending.boundaries(share, share, spending.P_LEVELS)
    assert (np.diff(found, axis=1) > 0).all()


@given(st.floats(-8, 8), st.floats(5, 1e4), st.sampled_from([0.05, 0.025]))
def test_p_value_and_interval_say_the_same(t, clusters, alpha):
    share = times(8)
    levels = sorted({*spending.P_LEVELS, alpha}, reverse=True)
    scores = spending.boundaries(share, share, levels)
    at = scores[:, levels.index(alpha)]
    p = spending.p_value(np.full(8, t), np.ones(8), np.full(8, clusters), levels, scores)
    outside = (t >= spending.t_quantile(at[BETTER], clusters)) | (
        t <= -spending.t_quantile(at[WORSE], clusters)
    )
    sure = np.abs(np.abs(t) - spending.t_quantile(at, clusters)).min(axis=0) > 1e-6
    np.testing.assert_array_equal((p <= alpha)[sure], outside[sure])
    assert ((p >= levels[-1] * (1 - 1e-9)) & (p <= 1)).all()


def test_p_value_is_the_smallest_alpha_that_concludes():
    """Against solving for alpha itself, to 5 % of p."""
    share = times(12)
    scores = spending.boundaries(share, share, spending.P_LEVELS)
    for t in (0.8, 2.0, 2.9, 3.7):
        p = spending.p_value(np.full(12, t), np.ones(12), np.full(12, 1e9), spending.P_LEVELS, scores)
        for look in (3, 11):
            if 1e-6 < p[look] < 1:
                at = spending.boundaries(share, share, [p[look]])[BETTER, 0, look]
                again = spending.p_value(
                    np.full(12, at), np.ones(12), np.full(12, 1e9), spending.P_LEVELS, scores
                )
                assert at == pytest.approx(t, abs=0.02)
                assert again[look] == pytest.approx(p[look], rel=0.05)


def test_no_boundary_no_conclusion():
    scores = np.full((2, len(spending.P_LEVELS), 2), np.inf)
    assert (spending.p_value([5.0, 5.0], [1.0, np.nan], [50, 50], spending.P_LEVELS, scores) == 1).all()
    assert spending.t_quantile(np.inf, 50) == np.inf
    assert spending.t_quantile(2.0, 1.0) == np.inf
    assert spending.boundaries([], [], [0.05]).shape == (2, 1, 0)


def test_grid_of_looks():
    np.testing.assert_array_equal(spending.looks(np.arange(1, 31), 30), np.arange(1, 31))
    due = spending.looks(np.arange(1, 721), 720)
    assert due[-1] == 64
    assert (np.diff(np.flatnonzero(np.diff(due, prepend=0))) >= 11).all()
    np.testing.assert_array_equal(spending.looks([0.5, 3.7, 12.0], 10), [0, 3, 10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spending.looks([1], 0), "planned_blocks is 0"),
        (lambda: spending.boundaries([0.5, 0.4], [1, 2], [0.05]), "shares must rise"),
        (lambda: spending.boundaries([0.5, 1.2], [1, 2], [0.05]), "shares must rise"),
        (lambda: spending.boundaries([0.5], [1], [0.0]), "must lie above 0"),
    ],
)
def test_what_is_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
