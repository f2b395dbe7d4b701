"""The mean over markets: its weights, against a direct computation, and what it gains with heavy-tailed markets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.markets import market_path, market_weights, weighted
from et_pipeline.inference.ratio import RatioCells, ratio_path
from et_pipeline.inference.ratio import from_pairs as ratio_from_pairs
from et_pipeline.inference.ratio import merge as ratio_merge
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


def sized(seed: int, *, arms: bool = False, scenario: Scenario = ZIPF) -> RatioCells:
    """Cells of a ratio of totals whose uplift differs between markets: of pairs, or of trades of either arm."""
    rng = np.random.default_rng(seed)
    drawn = draw(scenario, rng)
    n = len(drawn.block)
    size = rng.uniform(0.5, 2.0, (n, 2))
    value = np.column_stack((drawn.uplift, rng.normal(size=n)))
    block = drawn.block * 3_600_000_000
    if not arms:
        both = (np.column_stack((value[:, arm] * size[:, arm], size[:, arm])) for arm in (0, 1))
        return ratio_from_pairs(block, drawn.market, *both)
    mine = rng.random(n) < 0.3
    own = np.column_stack((mine, ~mine)).astype(np.float64)
    totals = np.column_stack((value[:, 0] * own[:, 0], own[:, 0], value[:, 1] * own[:, 1], own[:, 1]))
    return ratio_merge(RatioCells(block, drawn.market, own, totals))


def direct_of_ratios(cells: RatioCells, planned_blocks: int) -> np.ndarray:
    """The same as `direct` for cells with totals of two arms."""
    weights = np.ones(len(cells.block))
    blocks = np.unique(cells.block)
    for elapsed, block in enumerate(blocks):
        past, here = cells.block < block, cells.block == block
        totals, market = cells.totals[past], cells.market[past]
        whole = totals.sum(axis=0)
        if not (whole[1::2] > 0).all():
            continue
        terms = [
            (totals[:, place] - whole[place] / whole[place + 1] * totals[:, place + 1]) / whole[place + 1]
            for place in (0, 2)
        ]
        uplift, share = terms[0] - terms[1], (totals[:, 1] / whole[1] + totals[:, 3] / whole[3]) / 2
        names = np.unique(market)
        of_markets = np.array([(uplift[market == m].sum(), share[market == m].sum()) for m in names])
        own = np.sum(uplift**2), np.sum(share**2)
        apart = np.sum(of_markets[:, 1] ** 2) - own[1]
        between = (np.sum(of_markets[:, 0] ** 2) - own[0]) / apart if apart > 0 else 0.0
        within = own[0] - between * own[1]
        if between <= 0 or within <= 0:
            continue
        one = 1 / cells.n[past].reshape(past.sum(), -1).sum(axis=0).min()
        known = dict(zip(names, of_markets[:, 1], strict=True))
        single = {
            m: 1 / (1 + between / within * (known.get(m, 0.0) + one) * planned_blocks / elapsed)
            for m in np.unique(cells.market)
        }
        mean = sum(known[m] * single[m] for m in names)
        for row in np.flatnonzero(here):
            weights[row] = single[cells.market[row]] / mean
    return weights


@pytest.mark.parametrize("arms", [False, True])
def test_weights_of_ratios_are_those_of_the_delta_methods_terms(arms: bool) -> None:
    cells = sized(2, arms=arms, scenario=ZIPF._replace(blocks=25, pairs=600, markets=30, market_sd=1.5))
    found = market_weights(cells, planned_blocks=25)
    assert found == pytest.approx(direct_of_ratios(cells, 25), rel=1e-9)
    assert found.min() < 0.6 and found.max() > 1.3


def test_a_ratio_whose_denominator_is_one_has_the_weights_of_the_mean() -> None:
    cells = sample(5)
    arms = [np.column_stack((values, np.ones(len(values)))) for values in (cells.mean, 0 * cells.mean)]
    alone = Cells(*(np.asarray(column) for column in cells))._replace(n=np.ones(len(cells.n)))
    ratios = ratio_from_pairs(cells.block, cells.market, *arms)
    assert market_weights(ratios, planned_blocks=100) == pytest.approx(
        market_weights(alone, planned_blocks=100), rel=1e-9
    )
    of_ratios = market_path(ratios, planned_blocks=100, **OPTIONS)
    of_means = market_path(alone, planned_blocks=100, **OPTIONS)
    for name in ("mean", "se", "clusters", "ci_lower"):
        assert getattr(of_ratios, name) == pytest.approx(getattr(of_means, name), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("arms", [False, True])
def test_the_ratio_is_that_of_weighted_totals_and_trades_are_counted_as_trades(arms: bool) -> None:
    cells = sized(3, arms=arms)
    path = market_path(cells, planned_blocks=100, **OPTIONS)
    weight = market_weights(cells, planned_blocks=100)
    numerator, denominator, base, whole = (weight[:, None] * cells.totals).sum(axis=0)
    assert path.mean[-1] == pytest.approx(numerator / denominator - base / whole)
    assert path.n_pairs[-1] == cells.n.reshape(len(cells.n), -1).sum(axis=0).min()
    assert weighted(cells, planned_blocks=100).n == pytest.approx((cells.n.T * weight).T)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.95), arms=st.booleans())
def test_what_comes_later_changes_no_weight_of_ratios(seed: int, share: float, arms: bool) -> None:
    cells = sized(seed, arms=arms, scenario=ZIPF._replace(blocks=30, pairs=300))
    part = cells.part(0, int(np.searchsorted(cells.block, np.quantile(cells.block, share), side="right")))
    found = market_weights(cells, planned_blocks=30)[: len(part.block)]
    assert (found == market_weights(part, planned_blocks=30)).all()


def test_a_market_in_which_only_the_control_trades_counts_like_any_other_large_one() -> None:
    """Its level is another one and it has four fifths of the control's trades: unweighted it would rule the control."""
    rng = np.random.default_rng(8)
    blocks, markets = 100, 40
    block = np.repeat(np.arange(blocks), markets) * 3_600_000_000
    market = np.tile(np.arange(markets), blocks)
    level = rng.normal(size=markets)[market]
    trades = np.where(market == 0, 160.0, 1.0)
    variant = np.where(market == 0, 0.0, 1.0)
    noise = rng.normal(size=(2, len(block))) * np.sqrt(np.array([variant, trades]))
    totals = np.column_stack(
        (level * variant + noise[0], variant, (level + 3 * (market == 0)) * trades + noise[1], trades)
    )
    cells = RatioCells(block, market, totals[:, [1, 3]], totals)
    plain = ratio_path(cells, **OPTIONS).mean[-1]
    found = market_path(cells, planned_blocks=blocks, **OPTIONS).mean[-1]
    assert abs(plain) > 1
    assert abs(found) < 0.35 * abs(plain)


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
