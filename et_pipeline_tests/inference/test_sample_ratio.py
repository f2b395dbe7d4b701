"""The sample-ratio check against a direct transcription of the paper, and what it must never do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference.sample_ratio import log_e_value, sample_ratio_path

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
