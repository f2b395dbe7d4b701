"""Both ways of summing what blocks share with earlier ones within markets give the same bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference.serial import LAGS, within_grid, within_list


@given(
    markets=st.integers(1, 40),
    blocks=st.integers(1, 60),
    share=st.floats(0.02, 1),
    columns=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_grid_and_a_list_of_cells_give_the_same_bits(markets, blocks, share, columns, seed):
    rng = np.random.default_rng(seed)
    filled = rng.random((markets, blocks)) < share
    filled = filled[filled.any(axis=1)]
    market, position = np.nonzero(filled)
    totals = rng.normal(size=(len(market), columns)) * 10.0 ** rng.integers(-6, 6, size=(len(market), 1))
    grid = within_grid(position, market, totals, blocks)
    np.testing.assert_array_equal(grid, within_list(position, market, totals, blocks))
    assert grid.shape == (LAGS, blocks, columns * (columns + 1) // 2)


def test_products_are_those_of_cells_of_one_market_a_lag_apart():
    market, position = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 3, 1, 2])
    totals = np.array([[2.0], [3.0], [5.0], [7.0], [11.0]])
    lags = within_grid(position, market, totals, 4)[:, :, 0]
    np.testing.assert_array_equal(lags[0], [0, 6, 77, 0])
    np.testing.assert_array_equal(lags[1], [0, 0, 0, 15])
    np.testing.assert_array_equal(lags[2], [0, 0, 0, 10])
    assert not lags[3:].any()
