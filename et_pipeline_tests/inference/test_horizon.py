"""The path over a plan's horizon: where it has intervals, on what it depends, and the interval of a single look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from et_pipeline.inference import boundary, cells, serial, spending, twoway
from et_pipeline.inference.horizon import (
    MIN_BLOCKS,
    Horizon,
    carried,
    first_look,
    further_pairs,
    on_horizon,
    single_look,
)

ALPHA, ALARM = 0.05, 0.025
HOUR = 3_600_000_000
START = 400_000 * HOUR
G = boundary.solve_g(50, ALPHA)


def pairs(seed, *, blocks=128, markets=60, n=2000):
    rng = np.random.default_rng(seed)
    block = np.sort(rng.choice(rng.permutation(blocks)[: blocks * 3 // 4], n))
    uplift = rng.normal(size=n) + 0.3 * rng.normal(size=blocks)[block]
    return START + block * HOUR, rng.integers(0, markets, n), uplift


def path_of(block, market, uplift, *, planned=128, **options):
    path = twoway.interval_path(cells.from_pairs(block, market, uplift), alpha=ALPHA, g=G)
    horizon = Horizon(START, HOUR, planned, **options)
    return on_horizon(path, horizon, alpha=ALPHA, alarm_alpha=ALARM)


def same(one, other, rows):
    for name, left, right in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(left[rows], right, err_msg=name)


def test_intervals_stand_at_looks_and_means_everywhere():
    path, alarm = path_of(*pairs(1))
    elapsed = (path.block - START) / HOUR + 1
    due = spending.looks(elapsed, 128)
    np.testing.assert_array_equal(path.look, np.diff(due, prepend=0) > 0)
    assert 0 < path.look.sum() < len(path.look)
    for column in (path.ci_lower, path.ci_upper, path.p_value, *alarm):
        np.testing.assert_array_equal(np.isnan(column), ~path.look)
    assert np.isfinite(path.mean).all()
    np.testing.assert_array_equal(path.ready, np.isfinite(path.ci_lower))
    taken = np.flatnonzero(path.ready)
    assert path.n_blocks[taken[0]] >= MIN_BLOCKS > path.n_blocks[np.flatnonzero(path.look)[0]]
    assert path.ready[-1]


def test_ends_are_the_boundary_times_the_standard_error():
    path, alarm = path_of(*pairs(2))
    due = spending.looks((path.block - START) / HOUR + 1, 128)
    at = path.ready
    better, worse = spending.boundaries(due[at] / 64, path.se[at] ** -2.0, [ALPHA])[:, 0]
    np.testing.assert_allclose(
        path.ci_lower[at], path.mean[at] - stats.t.isf(stats.norm.sf(better), path.degrees[at]) * path.se[at]
    )
    np.testing.assert_allclose(
        path.ci_upper[at], path.mean[at] + stats.t.isf(stats.norm.sf(worse), path.degrees[at]) * path.se[at]
    )
    assert (alarm[0][at] < path.ci_lower[at]).all()
    assert (alarm[1][at] > path.ci_upper[at]).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_a_row_depends_on_the_data_up_to_it(seed, data):
    block, market, uplift = pairs(seed)
    whole, _ = path_of(block, market, uplift)
    row = data.draw(st.integers(0, len(whole.block) - 1))
    upto = block <= whole.block[row]
    part, _ = path_of(block[upto], market[upto], uplift[upto])
    same(whole, part, slice(0, row + 1))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_in_which_cells_arrive_changes_no_bit(seed):
    block, market, uplift = pairs(seed)
    whole = cells.from_pairs(block, market, uplift)
    halves = [whole.part(0, 300), whole.part(300, len(whole.block))]
    one, other = (
        on_horizon(
            twoway.interval_path(cells.merge(*parts), alpha=ALPHA, g=G),
            Horizon(START, HOUR, 128),
            alpha=ALPHA,
            alarm_alpha=ALARM,
        )[0]
        for parts in (halves, halves[::-1])
    )
    same(one, other, slice(None))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.booleans())
def test_another_unit_or_direction_gives_the_same_path_in_it(seed, scale, flip):
    """The better side stays the lower one: flipped values swap the mean's sign, not the widths."""
    block, market, uplift = pairs(seed)
    plain, _ = path_of(block, market, uplift)
    factor = -scale if flip else scale
    other, _ = path_of(block, market, uplift * factor)
    np.testing.assert_array_equal(plain.ready, other.ready)
    at = plain.ready
    np.testing.assert_allclose(other.mean, plain.mean * factor, rtol=1e-9, atol=1e-12 * scale)
    for name, sign in (("ci_lower", -1), ("ci_upper", 1)):
        np.testing.assert_allclose(
            (getattr(other, name) - other.mean)[at] / scale,
            (getattr(plain, name) - plain.mean)[at],
            rtol=1e-6,
        )
        assert (sign * (getattr(plain, name) - plain.mean)[at] > 0).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(-100, 100))
def test_shifted_values_shift_the_interval(seed, shift):
    block, market, uplift = pairs(seed)
    plain, _ = path_of(block, market, uplift)
    moved, _ = path_of(block, market, uplift + shift)
    for name in ("mean", "ci_lower", "ci_upper"):
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name) + shift, atol=1e-7)


def test_p_value_is_at_most_alpha_where_the_interval_excludes_the_null():
    path, _ = path_of(*pairs(3))
    at = path.ready
    for null in np.linspace(-0.6, 0.6, 41):
        again = on_horizon(
            twoway.interval_path(cells.from_pairs(*pairs(3)), alpha=ALPHA, g=G),
            Horizon(START, HOUR, 128),
            alpha=ALPHA,
            alarm_alpha=ALARM,
            null=null,
        )[0]
        outside = (path.ci_lower[at] > null) | (path.ci_upper[at] < null)
        np.testing.assert_array_equal(again.p_value[at] <= ALPHA, outside)


def test_looks_below_the_minimum_of_pairs_leave_their_alpha_to_later_ones():
    block, market, uplift = pairs(4)
    always, _ = path_of(block, market, uplift)
    late, _ = path_of(block, market, uplift, min_pairs=len(block))
    assert late.ready.sum() == 1
    assert late.ready[-1]
    last = late.at(-1)
    assert last.ci_lower > always.ci_lower[-1]
    expected = stats.t.isf(ALPHA / 2, last.degrees) * last.se
    assert last.mean - last.ci_lower == pytest.approx(expected, rel=1e-6)


def test_alphas_of_looks_that_are_not_taken_give_infinite_ends():
    path, _ = path_of(*pairs(5), planned=10_000)
    assert not path.ready.any()
    few, _ = path_of(*pairs(5, markets=6))
    at = few.look
    assert np.isinf(few.ci_lower[at]).all()
    assert (few.p_value[at] == 1).all()


def test_one_look_at_independent_clusters_is_the_t_interval():
    """Each pair a market and a block of its own; the serial factor is 1 where neighbours are not alike."""
    values = np.tile([1.0, -0.5, 2.0, 0.25], 20)
    path = twoway.interval_path(cells.from_pairs(range(80), range(80), values), alpha=ALPHA, g=G)
    assert path.serial_factor[-1] == 1.0
    assert path.degrees[-1] == pytest.approx(80 / 1.4 - 1)
    lower, upper = single_look(path, alpha=ALPHA)
    half = stats.t.isf(ALPHA / 2, path.degrees[-1]) * values.std(ddof=1) / np.sqrt(80)
    assert (upper[-1] - lower[-1]) / 2 == pytest.approx(half, rel=1e-9)
    assert (lower[0], upper[0]) == (-np.inf, np.inf)


@given(st.floats(20, 2000), st.floats(0.0, 0.9))
def test_blocks_that_remember_count_for_less(blocks, autocorrelation):
    known = serial.degrees_of_blocks(
        np.array(blocks), np.array((1 + autocorrelation) / (1 - autocorrelation))
    )
    assert known <= blocks / 1.4


def test_no_look_is_taken_in_the_first_fifth_of_the_plan():
    path, _ = path_of(*pairs(6, blocks=640, n=6000), planned=640)
    due = Horizon(START, HOUR, 640).due(path.block)
    assert path.n_blocks[path.look][10] > MIN_BLOCKS
    assert due[path.ready][0] == first_look(64) == 13
    assert np.isinf(path.ci_lower[path.look & (due < 13)]).all()


def test_rows_between_looks_carry_the_newest_one():
    path, alarm = path_of(*pairs(1))
    filled, wider = carried(path, alarm)
    newest = -1
    for row, look in enumerate(path.look):
        newest = row if look else newest
        for name in ("ci_lower", "ci_upper", "p_value"):
            expected = np.nan if newest < 0 else getattr(path, name)[newest]
            np.testing.assert_array_equal(getattr(filled, name)[row], expected)
        np.testing.assert_array_equal(wider[1][row], np.nan if newest < 0 else alarm[1][newest])
        assert filled.ready[row] == (newest >= 0 and path.ready[newest])
    for name in ("mean", "se", "n_pairs", "look", "e_value"):
        np.testing.assert_array_equal(getattr(filled, name), getattr(path, name))


@given(
    st.integers(1, 500),
    st.integers(0, 7_200).map(lambda s: s * 1_000_000),
    st.sampled_from([HOUR, 24 * HOUR, 7 * HOUR]),
)
def test_a_look_is_due_at_its_time_and_not_a_block_sooner(planned, offset, time_block):
    horizon = Horizon(START + offset, time_block, planned)
    number = np.arange(1, horizon.looks + 1)
    end = horizon.time_of(number)
    assert (end % time_block == 0).all()
    np.testing.assert_array_equal(horizon.due(end - time_block) >= number, True)
    np.testing.assert_array_equal(horizon.due(end - 2 * time_block) < number, True)


@pytest.mark.parametrize(("effect", "null", "margin"), [(4.0, 0.0, None), (3.5, -2.0, None), (0.1, 0.0, 3.2)])
def test_further_pairs_end_at_the_look_that_decides(effect, null, margin):
    """A path whose mean stays and whose information grows with its looks decides where it is told to."""
    looks, now, blocks = 64, 20, 256
    number = np.arange(first_look(looks), looks + 1)
    growth = number / now
    se = np.sqrt(looks / now)  # so that it is 1 at the end
    told = further_pairs(
        effect, se, 300.0, 400, blocks / looks * now, look=now, looks=looks, alpha=ALPHA, null=null,
        equivalence_margin=margin,
    )  # fmt: skip
    scores = spending.boundaries(number / looks, growth, [ALPHA])[:, 0]
    half = spending.t_quantile(scores, 300 * growth + 1) * se / np.sqrt(growth)
    inside = effect - half[0] > (null if margin is None else -margin)
    if margin is not None:
        inside &= effect + half[1] < margin
    first = number[inside & (number > now)][0]
    assert told == np.ceil(400 * (first / now - 1))


def test_further_pairs_beyond_the_plan_are_infinite_and_before_any_look_unknown():
    same = {"looks": 64, "alpha": ALPHA}
    assert further_pairs(0.1, 1.0, 100.0, 400, 80, look=20, **same) == np.inf
    assert np.isnan(further_pairs(0.1, 1.0, 100.0, 400, 3, look=0, **same))
