"""The mean over markets: its weights, against a direct computation, and what it gains with heavy-tailed markets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.markets import market_path, market_weights
from et_pipeline.inference.twoway import interval_path
from et_pipeline_tests.statistics.scenarios import Scenario, draw

OPTIONS = {"alpha": 0.05, "g": 20.0}
ZIPF = Scenario("Zipf", 100, 100, 1500, zipf=True, market_sd=0.5, block_sd=0.1)


def sample(seed: int = 1, scenario: Scenario = ZIPF) -> Cells:
    drawn = draw(scenario, np.random.default_rng(seed))
    return from_pairs(drawn.block * 3_600_000_000, drawn.market, drawn.uplift)


def direct(cells: Cells, planned_blocks: int) -> np.ndarray:
    """Each cell's weight, block by block, from nothing but the pairs of earlier blocks."""
    weights = np.ones(len(cells.n))
    blocks = np.unique(cells.block)
    for elapsed, block in enumerate(blocks):
        past, here = cells.block < block, cells.block == block
        if not past.any():
            continue
        n, total = cells.n[past], (cells.n * cells.mean)[past]
        residual = total - total.sum() / n.sum() * n
        market = cells.market[past]
        squares = {
            m: (residual[market == m].sum() ** 2, n[market == m].sum() ** 2) for m in np.unique(market)
        }
        of_markets = np.sum(list(squares.values()), axis=0)
        of_cells = np.array([np.sum(residual**2), np.sum(n**2)])
        grown = of_markets[1] - of_cells[1]
        between = (of_markets[0] - of_cells[0]) / grown if grown > 0 else 0.0
        within = (of_cells[0] - between * of_cells[1]) / n.sum()
        if between <= 0 or within <= 0:
            continue

        known = {m: n[market == m].sum() for m in np.unique(market)}
        ratio = between / within * planned_blocks / elapsed
        single = {m: 1 / (1 + ratio * (known.get(m, 0) + 1)) for m in np.unique(cells.market)}
        mean = np.average([single[m] for m in market], weights=n)
        for row in np.flatnonzero(here):
            weights[row] = single[cells.market[row]] / mean
    return weights


def test_weights_are_those_of_a_random_effects_model_on_what_came_before() -> None:
    cells = sample(scenario=ZIPF._replace(blocks=25, pairs=400, markets=30))
    found = market_weights(cells, planned_blocks=25)
    assert found == pytest.approx(direct(cells, 25), rel=1e-9)
    assert found.min() < 0.6 and found.max() > 1.5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.95))
def test_what_comes_later_changes_no_weight(seed: int, share: float) -> None:
    cells = sample(seed, ZIPF._replace(blocks=30, pairs=300))
    until = cells.block <= np.quantile(cells.block, share)
    part = Cells(*(column[until] for column in cells))
    assert (market_weights(cells, planned_blocks=30)[until] == market_weights(part, planned_blocks=30)).all()


def test_the_mean_is_the_weighted_mean_and_pairs_are_counted_as_pairs() -> None:
    cells = sample()
    path = market_path(cells, planned_blocks=100, **OPTIONS)
    weight = market_weights(cells, planned_blocks=100) * cells.n
    assert path.mean[-1] == pytest.approx(np.sum(weight * cells.mean) / weight.sum())
    assert path.n_pairs[-1] == cells.n.sum() == 1500
    of_markets = np.bincount(cells.market, weight)
    assert path.market_clusters[-1] == pytest.approx(weight.sum() ** 2 / np.sum(of_markets**2))


def test_where_markets_do_not_differ_it_is_nearly_the_mean_over_pairs() -> None:
    cells = sample(3, ZIPF._replace(market_sd=0.0, block_sd=0.0))
    markets = market_path(cells, planned_blocks=100, **OPTIONS)
    assert markets.se[-1] <= 1.25 * interval_path(cells, **OPTIONS).se[-1]


def test_with_heavy_tailed_markets_it_halves_the_standard_error() -> None:
    """Of 300 Zipf markets that differ by 0.3: 0.064 for pairs; 0.032 with the best weights, known beforehand."""
    scenario = Scenario("Zipf", 300, 300, 3000, zipf=True, market_sd=0.3)
    means = np.array(
        [
            [
                path.mean[-1]
                for path in (interval_path(c, **OPTIONS), market_path(c, planned_blocks=300, **OPTIONS))
            ]
            for c in (sample(seed, scenario) for seed in range(60))
        ]
    )
    pairs, markets = means.std(axis=0, ddof=1)
    error = 1 / np.sqrt(2 * 59)  # of each standard deviation, relative
    assert pairs == pytest.approx(0.064, rel=3 * error)
    assert markets < 0.032 * (1 + 3 * error)
    assert markets < 0.65 * pairs
