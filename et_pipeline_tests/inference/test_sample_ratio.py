"""The sample-ratio check against a direct transcription of the paper, and what it must never do."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.sample_ratio import (
    ALPHA,
    SplitChange,
    log_e_value,
    ratios_within,
    sample_ratio_path,
)

counts = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30)


def product_form(assignments: list[int], split: float, concentration: float) -> list[float]:
    """Lindon and Malek, sequential form: times predictive over planned probability, one by one."""
    theta = [split, 1.0 - split]
    alpha = [concentration * share for share in theta]
    path, e = [], 1.0
    for arm in assignments:
        e *= (alpha[arm] / sum(alpha)) / theta[arm]
        alpha[arm] += 1.0
        path.append(e)
    return path


@pytest.mark.parametrize("split", [0.1, 0.5, 0.93])
def test_equals_the_product_of_predictive_ratios(split: float) -> None:
    assignments = np.random.default_rng(7).choice(2, size=400, p=[0.3, 0.7])
    expected = product_form(assignments.tolist(), split, 100.0)
    path = sample_ratio_path(assignments == 0, assignments == 1, split=split)
    np.testing.assert_allclose(path.e_value, expected, rtol=1e-9)
    np.testing.assert_allclose(
        path.p_value, np.minimum(1.0, 1.0 / np.maximum.accumulate(expected)), rtol=1e-9
    )


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_mean_is_exactly_one_under_the_planned_split(n: int) -> None:
    k = np.arange(n + 1)
    probability = [math.comb(n, i) * 0.2**i * 0.8 ** (n - i) for i in k]
    expectation = np.dot(probability, np.exp(log_e_value(k, n - k, split=0.2)))
    assert expectation == pytest.approx(1.0, abs=1e-12)


@given(counts, st.floats(0.01, 0.99))
def test_arms_are_interchangeable_and_blocks_may_be_merged(
    blocks: list[tuple[int, int]], split: float
) -> None:
    v, c = (np.array(column) for column in zip(*blocks, strict=True))
    path = sample_ratio_path(v, c, split=split)
    mirrored = sample_ratio_path(c, v, split=1.0 - split)
    merged = sample_ratio_path([v.sum()], [c.sum()], split=split)
    np.testing.assert_allclose(path.log_e_value, mirrored.log_e_value, atol=1e-6)
    assert path.log_e_value[-1] == pytest.approx(merged.log_e_value[-1], abs=1e-9)
    np.testing.assert_allclose(path.lower, 1.0 - mirrored.upper, atol=1e-6)
    assert np.all(np.diff(path.p_value) <= 0) and np.all(np.diff(path.alarm.astype(int)) >= 0)


@given(counts)
def test_interval_excludes_the_plan_exactly_when_the_evidence_does(blocks: list[tuple[int, int]]) -> None:
    v, c = zip(*blocks, strict=True)
    path = sample_ratio_path(v, c, split=0.4, alpha=0.01)
    outside = (path.lower > 0.4 + 1e-9) | (path.upper < 0.4 - 1e-9)
    np.testing.assert_array_equal(outside, path.log_e_value > math.log(100.0) + 1e-7)


def test_a_share_of_nothing_or_all_leaves_no_room_for_chance() -> None:
    assert sample_ratio_path([0, 1], [5, 5], split=0.0).alarm.tolist() == [False, True]
    assert sample_ratio_path([5, 5], [0, 1], split=1.0).alarm.tolist() == [False, True]
    assert sample_ratio_path([0, 0], [5, 500], split=0.0).e_value.tolist() == [1.0, 1.0]


def test_large_counts_neither_overflow_nor_alarm_by_rounding() -> None:
    assert sample_ratio_path([10_000_000], [90_000_000], split=0.1).e_value[0] < 1.0
    broken = sample_ratio_path([50_000_000], [50_000_000], split=0.1)
    assert np.isfinite(broken.log_e_value[0]) and broken.p_value[0] == 0.0 and broken.alarm[0]


def test_before_the_first_opportunity_nothing_is_known() -> None:
    path = sample_ratio_path([0, 1], [0, 0], split=0.1)
    assert math.isnan(path.share[0]) and (path.lower[0], path.upper[0]) == (0.0, 1.0)
    assert path.e_value[0] == 1.0 and sample_ratio_path([], [], split=0.1).alarm.size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": [1], "control": [1, 2], "split": 0.1}, "1 blocks, control has 2"),
        ({"variant": [-1], "control": [1], "split": 0.1}, "none below 0"),
        ({"variant": [0.5], "control": [1], "split": 0.1}, "whole numbers"),
        ({"variant": [1], "control": [1], "split": 1.2}, "split is 1.2"),
        ({"variant": [1], "control": [1], "split": 0.1, "concentration": 0.0}, "concentration is 0"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_ratio_path(**arguments)  # type: ignore[arg-type]


def test_a_lower_split_on_the_way_is_no_alarm_and_a_broken_one_still_is() -> None:
    """The blocks before an amendment are held against the split of their time, those after it against the new one."""
    before, after = [50] * 24, [20] * 10
    variant, control = [*before, *after], [*before, *[180] * 10]
    amended = SplitChange(first=24, last=23, split=0.1)
    held = sample_ratio_path(variant, control, split=0.5, changes=[amended])
    assert not held.alarm.any()
    assert held.split.tolist() == [0.5] * 24 + [0.1] * 10
    assert (held.variant[-1], held.control[-1], held.share[-1]) == (200, 1800, 0.1)
    assert sample_ratio_path(variant, control, split=0.5).alarm[-1], "without the amendment it is one"
    assert sample_ratio_path(variant, control, split=0.1).alarm[0], (
        "all of it against the new split is one at once"
    )
    ignored = sample_ratio_path([50] * 34, [50] * 34, split=0.5, changes=[amended])
    assert not ignored.alarm[23] and ignored.alarm[-1], "traffic that does not follow the amendment is one"


def test_a_change_between_two_blocks_multiplies_the_e_values_of_its_two_sides() -> None:
    rng = np.random.default_rng(7)
    v, c = rng.integers(0, 30, 20), rng.integers(0, 60, 20)
    changed = sample_ratio_path(v, c, split=0.4, changes=[SplitChange(first=8, last=7, split=0.2)])
    apart = [
        sample_ratio_path(v[part], c[part], split=split).log_e_value
        for part, split in ((slice(8), 0.4), (slice(8, None), 0.2))
    ]
    expected = np.concatenate([apart[0], apart[0][-1] + apart[1]])
    np.testing.assert_allclose(changed.log_e_value, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("truth", [0, 1, 2, 3])
def test_the_mean_is_at_most_one_wherever_in_the_doubtful_blocks_the_split_changed(truth: int) -> None:
    """Summed over every outcome of three blocks of four opportunities; the change lies before block `truth`."""
    n, shares = 4, (0.5, 0.2)
    of = [binom.pmf(np.arange(n + 1), n, shares[block >= truth]) for block in range(3)]
    change = SplitChange(first=0, last=2, split=shares[1])
    mean = 0.0
    for counts in product(range(n + 1), repeat=3):
        v = np.array(counts)
        chance = np.prod([of[block][k] for block, k in enumerate(counts)])
        path = sample_ratio_path(v, n - v, split=shares[0], changes=[change], concentration=5.0)
        mean += chance * path.e_value[-1]
    assert mean <= 1 + 1e-12


def grouped(seed, shares, split=0.1, blocks=60, opportunities=4000):
    """Opportunities of groups whose true share of the variant is given, as rows of block and group."""
    rng = np.random.default_rng(seed)
    block, group = rng.integers(0, blocks, opportunities), rng.integers(0, len(shares), opportunities)
    variant = rng.random(opportunities) < np.asarray(shares)[group]
    cells = np.unique(np.column_stack((block, group)), axis=0, return_inverse=True)
    (at, of), place = cells[0].T, cells[1].ravel()
    counts = [np.bincount(place, arm).astype(np.int64) for arm in (variant, ~variant)]
    return at, of, *counts, {"split": np.full(blocks, split), "blocks": blocks}


def test_each_group_has_the_e_value_of_its_counts_and_their_mean_is_the_paths_end():
    *columns, options = grouped(1, [0.1] * 20)
    found = ratios_within(*columns, **options)
    expected = np.exp(log_e_value(found.variant, found.control, split=0.1, concentration=10))
    np.testing.assert_allclose(found.e_value, expected, rtol=1e-9)
    assert found.mean_e_value[-1] == pytest.approx(expected.mean())
    assert found.variant.sum() + found.control.sum() == 4000


def test_a_row_knows_nothing_of_later_blocks():
    at, of, variant, control, options = grouped(2, [0.3] * 5)
    early = at < 30
    found = ratios_within(at, of, variant, control, **options)
    part = ratios_within(
        at[early], of[early], variant[early], control[early], split=options["split"][:30], blocks=30
    )
    np.testing.assert_array_equal(found.mean_e_value[:30], part.mean_e_value)


def test_a_split_that_is_right_as_a_whole_but_not_within_groups_is_found():
    *columns, options = grouped(3, [0.19, 0.01] * 10, opportunities=6000)
    whole = sample_ratio_path(
        np.bincount(columns[0], columns[2]), np.bincount(columns[0], columns[3]), split=0.1
    )
    found = ratios_within(*columns, **options)
    assert not whole.alarm.any()
    assert found.mean_e_value.max() > 1 / ALPHA
    assert e_bh(found.e_value, delta=0.05, total=20).stands.any(), "the groups that are off have names"


def test_the_alarm_within_groups_keeps_its_promise_while_the_split_is_right():
    """400 experiments at alpha 0.05; at most 0.05 · (1 + 1/2 + … + 1/30) may alarm, plus two Monte Carlo errors."""
    alarms = []
    for seed in range(400):
        *columns, options = grouped(seed, [0.1] * 30, opportunities=1500)
        alarms.append(ratios_within(*columns, **options).mean_e_value.max() >= 20)
    assert np.mean(alarms) <= 0.05 * (1 / np.arange(1, 31)).sum() + 2 * np.sqrt(0.2 * 0.8 / 400)


def test_after_a_change_of_the_split_evidence_begins_anew_and_the_block_of_the_change_says_nothing():
    split = np.array([0.5, 0.5, np.nan, 0.1, 0.1])
    at, of = np.array([0, 1, 2, 3, 4]), np.zeros(5, dtype=np.int64)
    variant, control = np.array([5, 5, 90, 1, 2]), np.array([4, 6, 0, 9, 18])
    found = ratios_within(at, of, variant, control, split=split, blocks=5)
    expected = sum(
        log_e_value(s, f, split=one, concentration=10) for s, f, one in ((10, 10, 0.5), (3, 27, 0.1))
    )
    assert found.e_value[0] == pytest.approx(np.exp(expected))
    assert (found.variant[0], found.control[0]) == (13, 37)
    assert found.split[0] == pytest.approx((0.5 * 20 + 0.1 * 30) / 50)
