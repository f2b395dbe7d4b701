"""Cells can be merged in any order and lose no digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.inference import cells


def grouped(block, market, uplift):
    keys = sorted(set(zip(block, market, strict=True)))
    return [(k, [u for b, m, u in zip(block, market, uplift, strict=True) if (b, m) == k]) for k in keys]


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-3, 3), st.floats(-1e6, 1e6)), min_size=1, max_size=60
)


@given(ROWS, st.integers(1, 5), st.randoms())
def test_any_order_and_grouping_gives_numpys_mean_and_spread(rows, parts, random):
    expected = grouped(*zip(*rows, strict=True))
    random.shuffle(rows)
    pieces = [cells.from_pairs(*zip(*rows[i::parts], strict=True)) for i in range(parts) if rows[i::parts]]
    got = cells.merge(*pieces)
    assert list(zip(got.block.tolist(), got.market.tolist(), strict=True)) == [key for key, _ in expected]
    np.testing.assert_array_equal(got.n, [len(values) for _, values in expected])
    np.testing.assert_allclose(got.mean, [np.mean(values) for _, values in expected], rtol=1e-12, atol=1e-6)
    spread = [np.var(values) * len(values) for _, values in expected]
    np.testing.assert_allclose(got.m2, spread, rtol=1e-9, atol=1e-6)


def test_spread_of_1e_minus_3_around_1e9_survives_merging():
    rng = np.random.default_rng(0)
    steps = np.round(rng.normal(size=1000) * 1e-3 * 2**20) / 2**20  # exact at 1e9
    zeros = np.zeros(1000, dtype=int)
    pieces = [
        cells.from_pairs(z, z, 1e9 + x) for z, x in zip(np.split(zeros, 10), np.split(steps, 10), strict=True)
    ]
    got = cells.merge(*pieces)
    assert got.m2[0] == pytest.approx(np.var(steps) * 1000, rel=1e-4)
    values = 1e9 + steps
    naive = np.sum(values**2) - np.sum(values) ** 2 / 1000
    assert abs(naive / got.m2[0] - 1) > 10  # what the cells are for


def test_one_pair_has_no_spread():
    got = cells.from_pairs([3], [1], [0.1])
    assert [column.tolist() for column in got] == [[3], [1], [1.0], [0.1], [0.0]]


def test_nothing_merges_to_nothing():
    assert all(len(column) == 0 for column in cells.merge())
    assert all(len(column) == 0 for column in cells.merge(cells.from_pairs([], [], [])))


def test_up_to_keeps_whole_blocks():
    got = cells.from_pairs([0, 5, 5, 9], [1, 1, 2, 1], [1.0, 2.0, 3.0, 4.0]).up_to(5)
    assert got.block.tolist() == [0, 5, 5]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (([0], [0], [0], [1.0], [0.0]), "positive"),
        (([0], [0], [np.nan], [1.0], [0.0]), "positive"),
        (([0], [0], [1], [np.inf], [0.0]), "finite"),
        (([0], [0], [1], [1.0], [np.nan]), "finite"),
        (([0, 1], [0], [1], [1.0], [0.0]), "length"),
    ],
)
def test_impossible_cells_are_refused(columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        cells.as_cells(*columns)
