"""e-BH compared with its definition, and shrinkage compared with the truth."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference import ebh
from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.shrinkage import james_stein

E_VALUES = st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e6)), max_size=12)


def by_definition(e: list[float], delta: float, total: int) -> set[int]:
    """Wang & Ramdas 2022, equation 3, word for word."""
    order = sorted(range(len(e)), key=lambda i: -e[i])
    ks = [k for k in range(1, len(e) + 1) if k * e[order[k - 1]] / total >= 1 / delta]
    return {i for i in range(len(e)) if ks and e[i] >= e[order[max(ks) - 1]]}


def test_the_docstrings_example_is_true():
    assert doctest.testmod(ebh).failed == 0


@given(E_VALUES, st.integers(0, 60), st.sampled_from([0.05, 0.1, 0.2]))
def test_what_stands_is_what_the_definition_rejects(e: list[float], others: int, delta: float):
    found = e_bh(e, delta=delta, total=len(e) + others)
    assert set(np.flatnonzero(found.stands)) == by_definition(e, delta, len(e) + others)
    assert sorted(found.rank) == list(range(1, len(e) + 1))
    assert all(np.diff(np.asarray(e)[np.argsort(found.rank)]) <= 0)


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=8), st.integers(0, 30), st.data())
def test_the_threshold_is_where_a_discovery_begins_to_stand(e: list[float], others: int, data: st.DataObject):
    chosen = data.draw(st.integers(0, len(e) - 1))
    total = len(e) + others
    threshold = float(e_bh(e, delta=0.1, total=total).threshold[chosen])
    for value, stands in ((threshold, True), (np.nextafter(threshold, 0), False)):
        changed = [*e[:chosen], float(value), *e[chosen + 1 :]]
        assert e_bh(changed, delta=0.1, total=total).stands[chosen] == stands


def test_a_lone_winner_among_twenty_needs_two_hundred():
    assert e_bh([150.0], delta=0.1, total=20).threshold.tolist() == [200.0]


@pytest.mark.parametrize(
    ("e", "total", "delta"),
    [([1.0, 2.0], 1, 0.1), ([-1.0], 3, 0.1), ([float("nan")], 3, 0.1), ([1.0], 3, 0.0)],
)
def test_what_e_bh_cannot_take_is_refused(e: list[float], total: int, delta: float):
    with pytest.raises(ValueError, match="e-BH"):
        e_bh(e, delta=delta, total=total)


def test_the_winner_of_a_family_is_not_promised_its_lucky_mean():
    """Eight variants, one of them 1 standard error better; their errors share half of their variance.

    The mean of the winner is too large by 0.3 standard errors and more, its shrunk estimate by less than half of that.
    """
    generator = np.random.default_rng(20261126)
    truth = np.zeros(8)
    truth[0] = 1.0
    runs, naive, shrunk, squared = 4000, [], [], np.zeros(2)
    for _ in range(runs):
        mean = truth + np.sqrt(0.5) * (generator.normal() + generator.normal(size=8))
        estimate, winner = james_stein(mean, np.ones(8)), int(np.argmax(mean))
        naive.append(mean[winner] - truth[winner])
        shrunk.append(estimate[winner] - truth[winner])
        squared += np.sum((mean - truth) ** 2), np.sum((estimate - truth) ** 2)
    error = np.std(naive) / np.sqrt(runs)
    assert np.mean(naive) > 0.3 + 3 * error
    assert abs(np.mean(shrunk)) < np.mean(naive) / 2
    assert squared[1] < squared[0]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.floats(0.1, 10))
def test_shrinking_moves_every_mean_towards_zero_by_one_factor(means: list[float], se: float):
    found = james_stein(means, np.full(len(means), se))
    assert np.all(np.abs(found) <= np.abs(means)) and np.all(found * means >= 0)
    if len(means) < 3:
        assert found.tolist() == means


def test_a_standard_error_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        james_stein([1.0, 2.0, 3.0], [1.0, 0.0, 1.0])
