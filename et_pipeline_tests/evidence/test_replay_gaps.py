"""The gap of each control by day, compared with numpy; and the check that finds a backtester whose gap changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import duckdb
import numpy as np
import pytest

from et_pipeline.defs.evidence import replay_is_true
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import START, add_experiment, put_cells

MARKETS = 12


@pytest.fixture
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as found:
        add_experiment(found, settings)
        yield found


def gaps(day: int, mean: float, *, markets: int = MARKETS, seed: int = 0) -> dict[str, list[float]]:
    """Gaps of one day by market, between 1 and 4 in each."""
    chance = np.random.default_rng([seed, day])
    return {
        f"m{number}": (mean + chance.normal(0, 0.5, chance.integers(1, 5))).tolist()
        for number in range(markets)
    }


def put(
    connection: duckdb.DuckDBPyConnection,
    days: Mapping[int, Mapping[str, Sequence[float]]],
    *,
    experiment: str = "exp",
) -> None:
    """Puts the gaps of some days into the cells, spread over the hours of the day."""
    cells = [
        (24 * day + number % 24, market, values)
        for day, found in days.items()
        for number, (market, values) in enumerate(found.items())
    ]
    put_cells(connection, cells, experiment=experiment)
    connection.execute(
        "UPDATE series_cells SET comparison = 'replay_gap' WHERE experiment_id = ?", [experiment]
    )


def test_mean_and_standard_error_are_those_of_markets_as_clusters(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    days = {day: gaps(day, mean=0.5 * day) for day in range(3)}
    put(connection, days)
    rows = connection.execute(
        "SELECT strategy_id, day, metric, n_pairs, n_markets, mean_gap, se FROM replay_gaps ORDER BY day"
    ).fetchall()
    assert [row[:3] for row in rows] == [
        ("strat.exp", (START + timedelta(days=day)).date(), "edge_bps") for day in days
    ]
    for (*_, n_pairs, n_markets, mean, se), found in zip(rows, days.values(), strict=True):
        n = np.array([len(values) for values in found.values()])
        total = np.array([sum(values) for values in found.values()])
        residuals = total - n * total.sum() / n.sum()
        assert (n_pairs, n_markets) == (n.sum(), len(found))
        assert mean == pytest.approx(total.sum() / n.sum())
        assert se == pytest.approx(np.sqrt(len(n) / (len(n) - 1) * (residuals**2).sum()) / n.sum())


def test_one_market_alone_has_no_standard_error(connection: duckdb.DuckDBPyConnection) -> None:
    put(connection, {0: {"m0": [1.0, 3.0]}})
    assert connection.execute("SELECT mean_gap, se FROM replay_gaps").fetchall() == [(2.0, None)]


def test_experiments_that_share_a_control_count_its_trades_once(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    shared = {"strategy_id": "strat.exp", "config_version": "1"}
    variant = {"strategy_id": "strat.exp", "config_version": "3"}
    add_experiment(connection, settings, "other", control=shared, variant=variant)
    whole = gaps(0, mean=1.0)
    put(connection, {0: whole})
    query = "SELECT * FROM replay_gaps"
    alone = connection.execute(query).fetchall()
    put(connection, {0: {market: values[:1] for market, values in whole.items()}}, experiment="other")
    assert connection.execute(query).fetchall() == alone, "of each market the experiment counts that saw most"


def test_other_comparisons_say_nothing_of_the_backtester(connection: duckdb.DuckDBPyConnection) -> None:
    put_cells(connection, [(0, "m0", [1.0, 2.0])])
    assert connection.execute("SELECT count(*) FROM replay_gaps").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("means", "markets", "warned"),
    [
        ((1.0, 1.0, 1.0, 1.0), MARKETS, False),
        ((1.0, 1.0, 1.0, 3.0), MARKETS, True),
        ((1.0, 1.0, 1.0, -1.0), MARKETS, True),
        ((1.0, 1.0, 1.0, 3.0), 9, False),
        ((3.0,), MARKETS, False),
    ],
    ids=["steady", "up", "down", "too few markets", "no day before"],
)
def test_a_backtester_that_starts_to_drift_is_told_on_the_day(
    connection: duckdb.DuckDBPyConnection, means: tuple[float, ...], markets: int, warned: bool
) -> None:
    put(connection, {day: gaps(day, mean, markets=markets) for day, mean in enumerate(means)})
    result = replay_is_true(connection)
    assert result.passed != warned
    if warned:
        day = (START + timedelta(days=len(means) - 1)).date()
        assert f"strat.exp: on {day} its gap in edge_bps was" in str(result.description)


def test_metrics_that_decide_nothing_raise_no_warning(connection: duckdb.DuckDBPyConnection) -> None:
    put(connection, {day: gaps(day, mean) for day, mean in enumerate((1.0, 1.0, 9.0))})
    connection.execute("UPDATE series_cells SET metric = 'latency_ms'")
    assert replay_is_true(connection).passed
    assert connection.execute("SELECT DISTINCT metric FROM replay_gaps").fetchall() == [("latency_ms",)]


def test_a_steady_backtester_is_seldom_called_moved(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    runs = 30
    moved = 0
    for seed in range(runs):
        connection.execute("DELETE FROM series_cells")
        put(connection, {day: gaps(day, 1.0, seed=seed) for day in range(4)})
        moved += not replay_is_true(connection).passed
    # Four standard errors with 12 markets as clusters: about 0.3 % (t); of 30 runs more than 1 are in 0.4 % of cases.
    assert moved <= 1, moved
