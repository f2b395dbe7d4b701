"""The estimate at a verdict: against an independent integral, and by simulated experiments that stop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from et_pipeline.inference.boundary import radius
from et_pipeline.inference.spending import BETTER, boundaries
from et_pipeline.inference.unbiased import conservative, median_unbiased

KNOWN = 1e7
"""Degrees of freedom with which a t quantile is a normal one."""


def at_least(uplift: float, information: np.ndarray, boundary: np.ndarray, score: float) -> float:
    """Probability to stop before the last look, or to reach it with at least the score: from the joint normal."""
    root = np.sqrt(information)
    covariance = np.sqrt(
        np.minimum.outer(information, information) / np.maximum.outer(information, information)
    )
    stays = 1.0
    found = 0.0
    for look in range(len(information)):
        upper = boundary[look] if look < len(information) - 1 else score
        joint = multivariate_normal(uplift * root[: look + 1], covariance[: look + 1, : look + 1])
        reaches = stays
        stays = float(joint.cdf(np.append(boundary[:look], upper)))
        found += reaches - stays
    return found


@pytest.mark.parametrize("score", [2.4, 3.1])
def test_half_of_all_outcomes_are_at_least_as_strong_under_it(score: float) -> None:
    information = np.array([1.0, 2.0, 3.5])
    boundary = boundaries(information / 4, information, [0.05])[BETTER, 0]
    se = 1 / np.sqrt(information)
    mean = np.append([0.4, 0.9], score) * se
    estimate = median_unbiased(mean, se, [KNOWN] * 3, boundary * se)
    assert at_least(estimate, information, boundary, score) == pytest.approx(0.5, abs=2e-3)
    assert 0 < estimate < mean[-1]


def test_two_looks_by_a_direct_integral() -> None:
    information, boundary, score = np.array([1.0, 2.0]), np.array([2.5, 2.0]), 2.6
    estimate = median_unbiased([0.5, score / np.sqrt(2)], 1 / np.sqrt(information), [KNOWN] * 2,
                               boundary / np.sqrt(information))  # fmt: skip

    def later(first: float) -> float:
        return norm.pdf(first, estimate) * norm.sf(score * np.sqrt(2) - first - estimate)

    found = norm.sf(boundary[0] - estimate) + quad(later, -10, boundary[0])[0]
    assert found == pytest.approx(0.5, abs=1e-3)


def test_the_first_look_is_not_biased_and_nothing_concluded_has_no_estimate() -> None:
    assert median_unbiased([3.0], [1.0], [20.0], [2.5]) == pytest.approx(3.0, rel=1e-3)
    assert np.isnan(median_unbiased([1.0], [1.0], [20.0], [2.5]))
    assert np.isnan(median_unbiased([], [], [], []))


def test_a_look_at_which_something_else_held_the_verdict_back_does_not_count() -> None:
    se = 1 / np.sqrt([1.0, 2.0])
    held_back = median_unbiased(np.array([3.0, 2.8]) * se, se, [KNOWN] * 2, np.array([2.5, 2.0]) * se)
    assert held_back == pytest.approx(
        median_unbiased([2.8 * se[1]], se[1:], [KNOWN], [2.0 * se[1]]), rel=1e-3
    )


def test_it_is_too_high_as_often_as_too_low_where_the_mean_is_too_high() -> None:
    """Of 400 experiments with a true uplift of 2.5 final standard errors, those that stop."""
    rng = np.random.default_rng(5)
    looks, uplift = 16, 2.5
    information = np.arange(1, looks + 1) / looks
    boundary = boundaries(information, information, [0.05])[BETTER, 0]
    se = 1 / np.sqrt(information)
    means, estimates = [], []
    for _ in range(400):
        mean = uplift + np.cumsum(rng.normal(size=looks) / np.sqrt(looks)) / information
        crossed = np.flatnonzero(mean / se >= boundary)
        if len(crossed):
            part = slice(0, crossed[0] + 1)
            means.append(mean[crossed[0]])
            estimates.append(
                median_unbiased(mean[part], se[part], [KNOWN] * (crossed[0] + 1), (boundary * se)[part])
            )
    stopped = len(means)
    assert stopped > 250
    # An experiment that does not stop would have been below; so the median is that of all 400.
    below = np.mean(np.append(np.array(estimates) < uplift, np.ones(400 - stopped)))
    assert abs(below - 0.5) < 3 * np.sqrt(0.25 / 400)
    assert np.mean(means) - uplift > 0.3
    assert np.mean(estimates) - uplift < 0.85 * (np.mean(means) - uplift)


def test_the_conservative_estimate_is_too_high_for_no_more_than_half_of_all_experiments() -> None:
    """Stopped at the first of 300 moments at which the interval that is valid for ever lies above zero."""
    rng = np.random.default_rng(2)
    moments = np.arange(10, 301)
    runs, g = 400, 12.0
    for uplift in (0.1, 0.3):
        drawn = uplift + rng.normal(size=(runs, 300))
        means = np.cumsum(drawn, axis=1)[:, moments - 1] / moments
        squares = np.cumsum(drawn**2, axis=1)[:, moments - 1]
        se = np.sqrt((squares / moments - means**2) / (moments - 1))
        above = means > radius(se, moments, 0.05, g)
        stopped = np.flatnonzero(above.any(axis=1))
        first = above.argmax(axis=1)
        estimates = [
            conservative(means[run, first[run]], se[run, first[run]], moments[first[run]], g=g)
            for run in stopped
        ]
        assert len(stopped) > 0.1 * runs
        assert np.sum(np.array(estimates) > uplift) / runs <= 0.5
        assert (np.array(estimates) < means[stopped, first[stopped]]).all()
