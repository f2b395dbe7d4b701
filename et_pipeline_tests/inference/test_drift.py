"""The drift detector, compared with a computation of every stretch and with numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import nct, norm
from scipy.stats import t as student

from et_pipeline.inference import drift
from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.drift import drift_path, log_e_below
from et_pipeline.inference.twoway import interval_path


def sample(
    seed: int,
    *,
    blocks: int = 60,
    markets: int = 25,
    pairs: int = 900,
    falls_at: int | None = None,
    by: float = 0.0,
) -> Cells:
    rng = np.random.default_rng(seed)
    block, market = np.sort(rng.integers(0, blocks, pairs)), rng.integers(0, markets, pairs)
    x = (
        rng.normal(0, 1, markets)[market] * 0.3
        + rng.normal(0, 1, blocks)[block] * 0.3
        + rng.normal(0, 1, pairs)
    )
    if falls_at is not None:
        x = x - by * (block >= falls_at)
    return from_pairs(block * 3_600_000_000, market, x)


@pytest.fixture(scope="module")
def falling() -> tuple[Cells, dict[tuple[int, int], float]]:
    """Cells, and the evidence of every stretch (first and last block), each from its own cut of the cells."""
    cells, evidence = sample(1, falls_at=30, by=1.0), {}
    blocks = np.unique(cells.block)
    for t in range(len(blocks)):
        for s in range(t + 1):
            inside = (cells.block >= blocks[s]) & (cells.block <= blocks[t])
            last = interval_path(Cells(*(c[inside] for c in cells)), alpha=0.05, g=1.0).at(-1)
            if last.ready:
                evidence[s, t] = float(log_e_below(last.mean + 0.1, last.se, last.clusters))
    return cells, evidence


def every_stretch(
    cells: Cells, stretches: dict[tuple[int, int], float], window: int
) -> tuple[list[float], list[int]]:
    """Definition: for every block end the sum over starts."""
    log_m, since = [], []
    blocks = np.unique(cells.block)
    for t in range(len(blocks)):
        evidence = {s: stretches[s, t] for s in range(max(0, t - window + 1), t + 1) if (s, t) in stretches}
        log_m.append(float(np.logaddexp.reduce(list(evidence.values()))) if evidence else -math.inf)
        since.append(int(blocks[max(evidence, key=evidence.__getitem__)]) if evidence else -1)
    return log_m, since


@pytest.mark.parametrize("window", [1000, 40])
def test_equals_the_sum_over_recomputed_stretches(
    falling: tuple[Cells, dict[tuple[int, int], float]], window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_CHUNK", 17)
    cells, stretches = falling
    expected_m, expected_since = every_stretch(cells, stretches, window)
    path = drift_path(cells, margin=0.1, window=window)
    np.testing.assert_allclose(path.log_m, expected_m, rtol=1e-8, atol=1e-8)
    assert path.since.tolist() == expected_since
    assert path.log_m.max() > 5


@pytest.mark.parametrize(("clusters", "score"), [(10, -2.5), (10, 2.0), (25, -1.0), (40, 0.5), (40, -4.0)])
@pytest.mark.parametrize("g", [2.0, 30.0])
def test_evidence_is_the_half_normal_mixture_of_t_likelihood_ratios(
    clusters: int, score: float, g: float
) -> None:
    """Non-central over central t density, averaged over effects below 0 with a N(0, 1/g) prior cut there."""

    def ratio(effect: float) -> float:
        prior = 2.0 * math.sqrt(g) * norm.pdf(effect * math.sqrt(g))
        return (
            prior
            * nct.pdf(score, clusters - 1, effect * math.sqrt(clusters))
            / student.pdf(score, clusters - 1)
        )

    expected = quad(ratio, -8.0 / math.sqrt(g), 0.0, epsabs=1e-12)[0]
    assert math.exp(log_e_below(score * 0.3, 0.3, clusters, g)) == pytest.approx(expected, rel=1e-5)


def test_evidence_has_mean_at_most_one_at_the_edge_of_the_null_and_less_inside() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (200_000, 12))
    for shift, limit in ((0.0, 1.02), (0.2, 0.6)):
        mean, se = x.mean(1) + shift, x.std(1, ddof=1) / math.sqrt(12)
        assert np.exp(log_e_below(mean, se, np.full(len(x), 12.0))).mean() < limit


def test_a_fall_is_found_and_dated() -> None:
    cells = sample(4, blocks=120, pairs=4000, falls_at=70, by=1.0)
    path = drift_path(cells)
    alarm = path.first_alarm()
    assert alarm is not None and 70 <= alarm <= 95
    assert abs(path.since[alarm] / 3_600_000_000 - 70) <= 6
    assert path.mean_since[alarm] < -0.5 and path.log_e_since[alarm] <= path.log_m[alarm]


def test_a_rise_or_a_fall_inside_the_margin_raises_no_alarm() -> None:
    rise = sample(4, blocks=120, pairs=4000, falls_at=70, by=-1.0)
    assert drift_path(rise).first_alarm() is None
    fall = sample(4, blocks=120, pairs=4000, falls_at=70, by=1.0)
    assert drift_path(fall, margin=1.0).first_alarm() is None


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.floats(-1e4, 1e4), st.floats(1e-3, 1e3), st.integers(5, 59))
def test_scale_margin_and_prefix(seed: int, shift: float, scale: float, until: int) -> None:
    cells = sample(seed, falls_at=30, by=0.8)
    path = drift_path(cells, margin=0.5)
    scaled = drift_path(cells._replace(mean=cells.mean * scale, m2=cells.m2 * scale**2), margin=0.5 * scale)
    np.testing.assert_allclose(scaled.log_m, path.log_m, rtol=1e-6, atol=1e-6)
    prefix = drift_path(cells.up_to(int(path.block[until])), margin=0.5)
    np.testing.assert_allclose(prefix.log_m, path.log_m[: until + 1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(prefix.since, path.since[: until + 1])


def test_overwhelming_evidence_stays_finite() -> None:
    cells = sample(5, blocks=600, markets=2000, pairs=20_000)
    path = drift_path(cells._replace(mean=cells.mean - 1e4), window=600)
    assert path.alarm[-1] and np.isfinite(path.log_m[-1]) and path.log_m[-1] > math.log(np.finfo(float).max)


def test_too_little_data_says_nothing() -> None:
    empty = drift_path(from_pairs([], [], []))
    assert empty.first_alarm() is None and len(empty.block) == 0
    constant = drift_path(
        from_pairs(np.repeat(np.arange(40), 20), np.tile(np.arange(20), 40), np.full(800, -3.0))
    )
    assert not constant.alarm.any() and set(constant.since.tolist()) == {-1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"margin": -1.0}, "margin is -1"), ({"alpha": 1.0}, "alpha is 1"), ({"window": 0}, "window is 0")],
)
def test_bad_input_is_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift_path(sample(1), **arguments)  # type: ignore[arg-type]
