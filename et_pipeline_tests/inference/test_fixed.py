"""CR2 and Bell–McCaffrey in closed form against the matrices of the papers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import fractional_matrix_power

from et_pipeline.inference import cells, fixed


def direct_cr2(cluster, values):
    """Bell & McCaffrey 2002, eqs. (2)–(5), with matrices, for a regression on the intercept."""
    n = len(values)
    x = np.ones((n, 1))
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    residual = values - hat @ values
    meat, columns = 0.0, []
    for c in np.unique(cluster):
        own = cluster == c
        adjust = fractional_matrix_power(np.eye(own.sum()) - hat[np.ix_(own, own)], -0.5).real
        meat += float((x[own].T @ adjust @ residual[own]).item()) ** 2
        columns.append((np.eye(n) - hat)[:, own] @ adjust @ x[own] @ bread)
    gram = np.hstack(columns).T @ np.hstack(columns)
    return float((bread * meat @ bread).item()), float(np.trace(gram) ** 2 / np.sum(gram**2))


@pytest.mark.parametrize("seed", range(6))
def test_cr2_is_the_matrix_formula(seed):
    rng = np.random.default_rng(seed)
    cluster = rng.choice(7, size=40, p=np.array([8, 4, 3, 2, 1, 1, 1]) / 20)
    values = rng.normal(size=40) + rng.normal(size=7)[cluster]
    sizes, sums = np.bincount(cluster, minlength=7), np.bincount(cluster, weights=values, minlength=7)
    got = fixed.cr2(sizes.astype(float), sums)
    np.testing.assert_allclose(got, direct_cr2(cluster, values), rtol=1e-9)


def test_single_pairs_per_cluster_are_the_t_test():
    values = np.random.default_rng(2).normal(1, 2, size=25)
    got = fixed.fixed_interval(cells.from_pairs(np.arange(25), np.arange(25), values), alpha=0.05)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (got.ci_lower[0], got.ci_upper[0]) == pytest.approx(tuple(expected), rel=1e-12)
    assert got.df[0] == pytest.approx(24)


def test_every_row_of_the_path_is_the_interval_of_the_data_up_to_it(monkeypatch):
    monkeypatch.setattr(fixed, "_CHUNK", 64)  # several chunks
    rng = np.random.default_rng(5)
    data = cells.from_pairs(rng.integers(0, 30, 200), rng.integers(0, 9, 200), rng.normal(size=200))
    path = fixed.fixed_path(data, alpha=0.1)
    for row, block in enumerate(path.block):
        once = fixed.fixed_interval(data.up_to(block), alpha=0.1)
        for name in ("mean", "se", "df", "ci_lower", "ci_upper"):
            got, expected = getattr(path, name)[row], getattr(once, name)[0]
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_one_cluster_gives_an_infinite_interval():
    got = fixed.fixed_interval(cells.from_pairs([0, 0, 0], [1, 2, 3], [1.0, 2.0, 4.0]), alpha=0.05)
    assert (got.ci_lower[0], got.ci_upper[0]) == (-np.inf, np.inf)
    assert np.isnan(got.se[0])


def test_no_cells_give_no_rows():
    assert all(len(column) == 0 for column in fixed.fixed_path(cells.merge(), alpha=0.05))
    assert all(len(column) == 0 for column in fixed.fixed_interval(cells.merge(), alpha=0.05))


def test_alpha_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="alpha is 1"):
        fixed.fixed_path(cells.merge(), alpha=1.0)


def test_1500_blocks_of_3000_markets_take_seconds_not_minutes():
    rng = np.random.default_rng(1)
    block, market = rng.integers(0, 1500, 200_000), rng.integers(0, 3000, 200_000)
    data = cells.from_pairs(block, market, rng.normal(size=200_000))
    started = time.perf_counter()
    path = fixed.fixed_path(data, alpha=0.05)
    assert len(path.block) == 1500
    assert time.perf_counter() - started < 10
