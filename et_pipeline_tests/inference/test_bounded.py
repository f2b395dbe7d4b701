"""The betting interval, compared with the products in the paper, and the two halves of the hull."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.inference import boundary
from et_pipeline.inference.bounded import betting_interval, bounded_path, log_capital, predictable_bets
from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.twoway import interval_path

unit = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60).map(np.array)
ALPHA = 0.05


def bets_by_hand(y: list[float], planned: float, alpha: float) -> list[float]:
    """Waudby-Smith and Ramdas, one observation at a time."""
    bets, residuals, total = [], 0.0, 0.0
    variance = 0.25
    for t, value in enumerate(y, start=1):
        bets.append(math.sqrt(2 * math.log(2 / alpha) / (variance * planned)))
        total += value
        residuals += (value - (0.5 + total) / (t + 1)) ** 2
        variance = (0.25 + residuals) / (t + 1)
    return bets


def hedged_capital(y: list[float], bets: list[float], m: float) -> tuple[float, float]:
    up = down = 1.0
    for value, bet in zip(y, bets, strict=True):
        up *= 1 + min(bet, 0.75 / m) * (value - m)
        down *= 1 - min(bet, 0.75 / (1 - m)) * (value - m)
    return up, down


def lower_end_by_bisection(y: list[float], bets: list[float], alpha: float) -> float:
    excluded, kept = 0.0, 1.0
    for _ in range(60):
        m = (excluded + kept) / 2
        if hedged_capital(y, bets, m)[0] >= 2 / alpha:
            excluded = m
        else:
            kept = m
    return excluded


def sample(seed: int, blocks: int = 80, markets: int = 40, pairs: int = 1600, shift: float = 0.0) -> Cells:
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(shift, 0.3, pairs), -1, 1)
    return from_pairs(np.sort(rng.integers(0, blocks, pairs)), rng.integers(0, markets, pairs), x)


@given(unit, st.floats(0.01, 0.99))
def test_capital_is_the_paper_s_product(y: np.ndarray, m: float) -> None:
    bets = predictable_bets(y, planned_blocks=50, alpha=ALPHA)
    np.testing.assert_allclose(bets, bets_by_hand(y.tolist(), 50, ALPHA), rtol=1e-9)
    up, down = log_capital(y, bets, np.array([m]))
    expected = hedged_capital(y.tolist(), bets.tolist(), m)
    np.testing.assert_allclose((up[-1, 0], down[-1, 0]), np.log(expected), rtol=1e-7, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, 0.3]), st.floats(0.05, 0.95))
def test_interval_ends_where_the_capital_reaches_the_bar(seed: int, spread: float, centre: float) -> None:
    y = np.clip(np.random.default_rng(seed).normal(centre, spread, 200), 0, 1)
    bets = predictable_bets(y, planned_blocks=200, alpha=ALPHA)
    lower, upper = betting_interval(y, bets, alpha=ALPHA)
    for t in (1, 5, 40, 200):
        expected = lower_end_by_bisection(y[:t].tolist(), bets[:t].tolist(), ALPHA)
        mirrored = lower_end_by_bisection((1 - y[:t]).tolist(), bets[:t].tolist(), ALPHA)
        # Below the first grid point nothing is excluded: the bound itself.
        assert lower[t - 1] == pytest.approx(expected, abs=2e-6) or expected < 1 / 1024
        assert upper[t - 1] == pytest.approx(1 - mirrored, abs=2e-6) or mirrored < 1 / 1024


@given(unit)
def test_mirrored_observations_mirror_the_interval(y: np.ndarray) -> None:
    lower, upper = betting_interval(y, predictable_bets(y, planned_blocks=60, alpha=ALPHA), alpha=ALPHA)
    other = betting_interval(1 - y, predictable_bets(1 - y, planned_blocks=60, alpha=ALPHA), alpha=ALPHA)
    np.testing.assert_allclose(lower, 1 - other[1], atol=1e-9)
    assert np.all(lower <= upper)


@pytest.mark.parametrize("shift", [0.0, 0.1])
@pytest.mark.parametrize("null", [0.0, -0.05])
def test_hull_excludes_what_both_exclude(shift: float, null: float) -> None:
    cells = sample(1, shift=shift)
    g = boundary.solve_g(40, ALPHA)
    path = bounded_path(cells, bounds=(-1, 1), planned_blocks=80, alpha=ALPHA, g=g, null=null)
    parts = interval_path(cells, alpha=ALPHA, g=g, null=null)
    assert np.all(path.ci_lower <= np.maximum(parts.ci_lower, -1))
    assert np.all(path.ci_upper >= np.minimum(parts.ci_upper, 1))
    assert np.all(path.e_value <= parts.e_value)
    outside = (path.ci_lower > null + 1e-5) | (path.ci_upper < null - 1e-5)
    np.testing.assert_array_equal(outside, path.p_value < ALPHA - 1e-3)
    assert outside[-1] == (shift > 0.0)


def test_path_is_the_interval_of_the_data_up_to_the_block() -> None:
    cells = sample(2)
    arguments = {"bounds": (-1.0, 1.0), "planned_blocks": 80.0, "alpha": ALPHA, "g": 5.0}
    whole = bounded_path(cells, **arguments)  # type: ignore[arg-type]
    for row in (3, 30, 79):
        last = bounded_path(cells.up_to(int(whole.block[row])), **arguments).at(-1)  # type: ignore[arg-type]
        for name in ("ci_lower", "ci_upper", "e_value", "mean"):
            assert getattr(last, name) == pytest.approx(getattr(whole, name)[row], rel=1e-9)


def test_rare_losses_not_yet_seen_are_not_excluded() -> None:
    """100 blocks that only ever gained 0.01: the variance says 'certain', the bounds say 'not yet'."""
    rng = np.random.default_rng(4)
    x = np.full(2000, 0.01) + rng.normal(0, 1e-4, 2000)
    cells = from_pairs(np.repeat(np.arange(100), 20), np.tile(np.arange(20), 100), x)
    arguments = {"alpha": ALPHA, "g": boundary.solve_g(20, ALPHA)}
    assert interval_path(cells, **arguments).at(-1).ci_lower > 0.009
    hull = bounded_path(cells, bounds=(-1, 1), planned_blocks=100, **arguments).at(-1)
    assert -0.06 < hull.ci_lower < 0 and hull.e_value < 20


def test_pairs_that_never_differ_are_evidence() -> None:
    cells = from_pairs(np.repeat(np.arange(600), 20), np.tile(np.arange(20), 600), np.zeros(12_000))
    last = bounded_path(cells, bounds=(-1, 1), planned_blocks=600, alpha=ALPHA, g=5.0, null=-0.05).at(-1)
    assert last.ready and -0.05 < last.ci_lower <= 0.0 <= last.ci_upper < 0.05


def test_other_bounds_only_rescale() -> None:
    cells = sample(3, shift=0.1)
    small = bounded_path(cells, bounds=(-1, 1), planned_blocks=80, alpha=ALPHA, g=5.0)
    large = bounded_path(
        cells._replace(mean=7 + 3 * cells.mean, m2=9 * cells.m2),
        bounds=(4, 10),
        planned_blocks=80,
        alpha=ALPHA,
        g=5.0,
        null=7.0,
    )
    np.testing.assert_allclose(large.ci_lower, 7 + 3 * small.ci_lower, rtol=1e-9)
    np.testing.assert_allclose(large.e_value, small.e_value, rtol=1e-6)


def test_no_data_is_an_empty_path() -> None:
    empty = bounded_path(from_pairs([], [], []), bounds=(-1, 1), planned_blocks=80, alpha=ALPHA, g=5.0)
    assert len(empty.mean) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bounds": (1.0, -1.0)}, "bounds are"),
        ({"bounds": (-0.001, 0.001)}, "its bounds"),
        ({"planned_blocks": 0.0}, "planned_blocks is 0"),
        ({"null": -1.5}, "null is -1.5"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, object], message: str) -> None:
    defaults = {"bounds": (-1.0, 1.0), "planned_blocks": 80.0, "alpha": ALPHA, "g": 5.0}
    with pytest.raises(ValueError, match=message):
        bounded_path(sample(1), **(defaults | arguments))  # type: ignore[arg-type]
