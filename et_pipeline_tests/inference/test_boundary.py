"""The boundary, compared with a direct transcription of the paper, with its inverse, and with numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from et_pipeline.inference import boundary

CLUSTERS = st.floats(2, 1e5)
ALPHAS = st.floats(1e-4, 0.5)


def direct_radius(se, t, alpha, g):
    nu, tau = t - 1, g / (g + t)
    p = (tau * alpha**2) ** (1 / (nu + 1))
    return se * np.sqrt(nu * (1 - p) / (p - tau)) if p > tau else np.inf


@given(st.floats(0, 1e6), CLUSTERS, ALPHAS, st.floats(1e-3, 1e4))
def test_radius_is_the_published_formula(se, t, alpha, g):
    assert boundary.radius(se, t, alpha, g) == pytest.approx(
        direct_radius(se, t, alpha, g), rel=1e-6, nan_ok=True
    )


@pytest.mark.parametrize("t_statistic", [0.0, 1.0, 2.5, 4.0])
@pytest.mark.parametrize("clusters", [5, 30, 80])
def test_e_value_is_the_bayes_factor_it_is_derived_from(t_statistic, clusters):
    """Lindon et al. 2022, sec. 3: effect/σ ~ N(0, 1/g) under the alternative, σ under 1/σ (right Haar)."""
    g, nu = 7.0, clusters - 1

    def likelihood(effect):
        return stats.nct.pdf(t_statistic, nu, effect * np.sqrt(clusters)) * stats.norm.pdf(effect, 0, g**-0.5)

    mixture = integrate.quad(likelihood, -3, 3, limit=400, points=[0])[0]
    expected = mixture / stats.t.pdf(t_statistic, nu)
    assert boundary.e_value(t_statistic, 1.0, clusters, g) == pytest.approx(expected, rel=1e-5)


@given(CLUSTERS, ALPHAS, st.floats(0.01, 1e3), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_e_value_at_the_end_of_the_interval_is_one_over_alpha(t, alpha, g, null, se):
    half = float(boundary.radius(se, t, alpha, g))
    if np.isfinite(half) and half < 1e6 * se:
        scaled = boundary.log_e_value(half, se, t, g)
        assert scaled == pytest.approx(-np.log(alpha), rel=1e-4, abs=1e-4)
        assert boundary.e_value(null + 1.01 * half, se, t, g, null) >= 1 / alpha
        assert boundary.e_value(null + 0.99 * half, se, t, g, null) < 1 / alpha


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2])
@pytest.mark.parametrize("planned", [2, 11, 100, 3000])
def test_solved_g_is_narrowest_at_the_planned_number(planned, alpha):
    g = boundary.solve_g(planned, alpha)
    best = boundary.radius(1.0, planned, alpha, g)
    assert np.isfinite(best)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert boundary.radius(1.0, planned, alpha, g * factor) >= best


def test_width_against_a_fixed_size_t_interval_of_the_same_standard_error():
    for planned in (20, 30, 100, 1000):
        anytime = boundary.radius(1.0, planned, 0.05, boundary.solve_g(planned, 0.05))
        assert anytime / stats.t.ppf(0.975, planned - 1) <= 1.63


def test_undefined_input_gives_an_infinite_interval_and_no_evidence():
    se, clusters = np.array([np.nan, np.inf, 1.0, 1.0, 1.0]), np.array([20, 20, 1.0, 0.0, np.nan])
    assert np.isinf(boundary.radius(se, clusters, 0.05, 5.0)).all()
    assert (boundary.e_value(1.0, se, clusters, 5.0) == 1).all()
    assert (boundary.p_value(1.0, se, clusters, 5.0) == 1).all()


def test_too_few_clusters_for_the_tuning_give_an_infinite_interval():
    g = boundary.solve_g(1000, 0.05)
    assert np.isinf(boundary.radius(1.0, 3.0, 0.05, g))
    assert boundary.e_value(1e9, 1.0, 3.0, g) < 20


def test_zero_standard_error_is_a_point_and_its_e_value_stays_finite():
    assert boundary.radius(0.0, 50, 0.05, 5.0) == 0
    e = boundary.e_value([0.0, 1.0], 0.0, [50, 1e6], 5.0)
    assert e[0] < 1
    assert 1e300 < e[1] < np.inf


@pytest.mark.parametrize(("planned", "alpha"), [(1, 0.05), (np.nan, 0.05), (50, 0), (50, 1)])
def test_impossible_plans_are_refused(planned, alpha):
    with pytest.raises(ValueError, match="must"):
        boundary.solve_g(planned, alpha)


@pytest.mark.parametrize("g", [0.0, -1.0, np.inf, np.nan])
def test_impossible_tuning_is_refused(g):
    with pytest.raises(ValueError, match="g is"):
        boundary.radius(1.0, 50, 0.05, g)
