"""The interval path against direct O(n²) sums and against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

from et_pipeline.inference import boundary, cells, twoway

ALPHA, G = 0.05, boundary.solve_g(30, 0.05)


def sample(seed: int, *, markets: int = 12, blocks: int = 40, pairs: int = 400, shock: float = 1.0):
    rng = np.random.default_rng(seed)
    block, market = rng.integers(0, blocks, pairs), rng.integers(0, markets, pairs)
    uplift = rng.normal(size=pairs) + shock * rng.normal(size=blocks)[block] + rng.normal(size=markets)[market]
    return block * 3_600_000_000, market, uplift


def path(block, market, uplift, **options):
    return twoway.interval_path(cells.from_pairs(block, market, uplift), alpha=ALPHA, g=G, **options)


def direct(block, market, uplift):
    """The two-way variance as a double sum over pairs that share a market or a block."""
    residual = uplift - uplift.mean()
    same_market, same_block = market[:, None] == market, block[:, None] == block
    product = np.outer(residual, residual)
    market_sum, block_sum = product[same_market].sum(), product[same_block].sum()
    both = product[same_market | same_block].sum()
    return np.sqrt(max(both, market_sum, block_sum)) / len(uplift)


@pytest.mark.parametrize("seed", range(5))
def test_raw_standard_error_is_the_double_sum_over_pairs(seed):
    data = sample(seed)
    assert path(*data).se_raw[-1] == pytest.approx(direct(*data), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_corrected_ways_equal_statsmodels(seed):
    block, market, uplift = sample(seed)
    got = path(block, market, uplift).at(-1)
    fit = sm.OLS(uplift, np.ones((len(uplift), 1))).fit()
    n = len(uplift)
    # statsmodels multiplies each way by G/(G−1)·(n−1)/(n−k), which is G/(G−1) for an intercept.
    both, by_market, by_block = (
        float(np.squeeze(v)) for v in cov_cluster_2groups(fit, market, group2=np.unique(block, return_inverse=True)[1])
    )
    assert got.se_market**2 * got.n_markets / (got.n_markets - 1) == pytest.approx(by_market, rel=1e-10)
    assert got.se_block**2 * got.n_blocks / (got.n_blocks - 1) == pytest.approx(by_block, rel=1e-10)
    by_cell = by_market + by_block - both
    by_block *= got.serial_factor
    expected = max(by_market + by_block - by_cell, by_market, by_block)
    assert got.se**2 == pytest.approx(expected, rel=1e-10)
    assert n == got.n_pairs
