"""Diagnostics, compared with sums over all couples of pairs, and on samples with known correlations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference.cells import from_pairs
from et_pipeline.inference.diagnostics import diagnose, lag1_autocorrelation

pairs = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 3), st.floats(-5, 5).map(lambda x: round(x, 3))),
    min_size=2,
    max_size=40,
)


def correlations_over_all_couples(block: np.ndarray, market: np.ndarray, x: np.ndarray) -> list[float]:
    """The definition, couple by couple: O(n²)."""
    deviation = x - x.mean()
    products: dict[tuple[bool, bool], list[float]] = {}
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                key = (bool(market[i] == market[j]), bool(block[i] == block[j]))
                products.setdefault(key, []).append(deviation[i] * deviation[j])
    level = {key: float(np.mean(values)) for key, values in products.items()}
    reference = level.get((False, False), math.nan)
    variance = float(np.mean(deviation**2)) - reference
    kinds = ((True, False), (False, True), (True, True))
    return [
        (level.get(kind, math.nan) - reference) / variance if variance > 0 else math.nan for kind in kinds
    ]


@given(pairs)
def test_correlations_equal_the_sum_over_all_couples(rows: list[tuple[int, int, float]]) -> None:
    block, market, x = (np.array(column) for column in zip(*rows, strict=True))
    if x.std() < 1e-2:
        return
    d = diagnose(from_pairs(block, market, x))
    expected = correlations_over_all_couples(block, market, x)
    np.testing.assert_allclose(
        [d.within_market, d.within_block, d.within_cell], expected, rtol=1e-6, atol=1e-6
    )
    assert d.mean == pytest.approx(x.mean(), abs=1e-9) and d.sd == pytest.approx(x.std(ddof=1))


@given(pairs, st.floats(-1e6, 1e6), st.floats(0.1, 1e3))
def test_shift_and_scale_change_mean_and_sd_but_no_correlation(
    rows: list[tuple[int, int, float]], shift: float, scale: float
) -> None:
    block, market, x = (np.array(column) for column in zip(*rows, strict=True))
    if x.std() < 1e-2:
        return
    d, moved = diagnose(from_pairs(block, market, x)), diagnose(from_pairs(block, market, shift + scale * x))
    assert moved.mean == pytest.approx(shift + scale * d.mean, rel=1e-6, abs=1e-5)
    assert moved.sd == pytest.approx(scale * d.sd, rel=1e-5)
    for name in ("within_market", "within_block", "within_cell", "block_autocorrelation"):
        assert getattr(moved, name) == pytest.approx(getattr(d, name), rel=1e-3, abs=1e-3, nan_ok=True)


def test_known_correlations_are_found() -> None:
    rng = np.random.default_rng(5)
    markets, blocks = 150, 400
    market_effect, block_effect = (
        rng.normal(0, math.sqrt(0.2), markets),
        rng.normal(0, math.sqrt(0.1), blocks),
    )
    market, block = rng.integers(0, markets, 60_000), rng.integers(0, blocks, 60_000)
    x = 3.0 + market_effect[market] + block_effect[block] + rng.normal(0, math.sqrt(0.7), 60_000)
    d = diagnose(from_pairs(block, market, x))
    assert d.within_market == pytest.approx(0.2, abs=0.05)
    assert d.within_block == pytest.approx(0.1, abs=0.02)
    assert d.within_cell == pytest.approx(0.3, abs=0.06)
    assert abs(d.block_autocorrelation) < 0.15 and not d.longer_block_needed


def test_memory_of_the_blocks_asks_for_longer_ones() -> None:
    rng = np.random.default_rng(6)
    effect = np.zeros(600)
    for t in range(1, 600):
        effect[t] = 0.97 * effect[t - 1] + rng.normal()
    block = np.repeat(np.arange(600), 20)
    d = diagnose(
        from_pairs(block, rng.integers(0, 50, block.size), effect[block] + rng.normal(0, 1, block.size))
    )
    assert d.block_autocorrelation > 0.9 and d.longer_block_needed


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_bias_correction_of_the_autocorrelation(rho: float) -> None:
    rng = np.random.default_rng(8)
    estimates = []
    for _ in range(2000):
        noise, x = rng.normal(size=140), np.zeros(140)
        for t in range(1, 140):
            x[t] = rho * x[t - 1] + noise[t]
        estimates.append(lag1_autocorrelation(x[100:]))
    assert np.mean(estimates) == pytest.approx(rho, abs=0.03)


def test_one_market_that_carries_the_result_is_named() -> None:
    d = diagnose(from_pairs([0, 0, 1, 1, 1], [9, 9, 9, 4, 5], [10.0, 12.0, 11.0, -1.0, 1.0]))
    assert (d.largest_market, d.largest_market_share) == (9, 0.6)
    assert d.mean_without_largest == pytest.approx(0.0, abs=1e-12)
    alone = diagnose(from_pairs([0, 1], [3, 3], [1.0, 2.0]))
    assert alone.largest_market_share == 1.0 and math.isnan(alone.mean_without_largest)


def test_large_values_with_a_small_spread_keep_their_digits() -> None:
    rng = np.random.default_rng(9)
    block, market, x = rng.integers(0, 30, 900), rng.integers(0, 20, 900), rng.normal(0, 1e-3, 900)
    small, large = diagnose(from_pairs(block, market, x)), diagnose(from_pairs(block, market, x + 1e9))
    assert large.sd == pytest.approx(small.sd, rel=1e-4)
    assert large.within_block == pytest.approx(small.within_block, abs=1e-4)


def test_too_little_to_say_is_nan_not_an_error() -> None:
    empty, single = diagnose(from_pairs([], [], [])), diagnose(from_pairs([0], [1], [2.0]))
    assert empty.n_pairs == 0 and math.isnan(empty.mean) and not empty.longer_block_needed
    assert single.mean == 2.0 and math.isnan(single.sd) and math.isnan(single.within_market)
    constant = diagnose(from_pairs([0, 1, 2, 3], [1, 2, 1, 2], [2.0] * 4))
    assert (
        constant.sd == 0.0
        and math.isnan(constant.within_market)
        and math.isnan(constant.block_autocorrelation)
    )
