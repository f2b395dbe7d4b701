"""The gap of each control by day, compared with numpy; and the check that finds a backtester whose gap changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import duckdb
import numpy as np
import pytest

from et_pipeline.defs.evidence import replay_is_true
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import START, add_experiment, put_cells
from et_pipeline_tests.pairing.lab import open_lab, replayed_report, report, variant_report

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


def delta_method(replayed: np.ndarray, live: np.ndarray, market: np.ndarray) -> tuple[float, float]:
    """A difference of two ratios of totals and its standard error with markets as clusters; columns are the parts."""
    mean, residual = 0.0, np.zeros(market.max() + 1)
    for sign, arm in ((1, replayed), (-1, live)):
        numerator, denominator = arm.sum(axis=0)
        mean += sign * numerator / denominator
        left = (arm[:, 0] - numerator / denominator * arm[:, 1]) / denominator
        residual += sign * np.bincount(market, left)
    return mean, np.sqrt(len(residual) / (len(residual) - 1) * (residual**2).sum())


def test_of_what_is_counted_by_size_it_is_the_difference_of_ratios_of_totals() -> None:
    rng = np.random.default_rng(3)
    trades, markets = 240, 12
    market, day = np.arange(trades) % markets, np.arange(trades) // (trades // 2)
    arms = {
        arm: {
            "edge_bps": np.round(rng.normal(size=trades) + shift, 6),
            "slippage_bps": np.round(rng.normal(size=trades) - shift, 6),
            "filled_size": np.round(rng.pareto(1.5, trades) + 1, 3) * (rng.random(trades) > 0.1),
            "asked_size": np.round(rng.pareto(1.5, trades) + 20, 3),
        }
        for arm, shift in (("live", 0.0), ("replayed", 1.0))
    }
    parts = {
        "edge_bps.by.filled_size": ("edge_bps", "filled_size", 1),
        "slippage_bps.by.filled_size": ("slippage_bps", "filled_size", -1),
        "size_fill_ratio": (None, "asked_size", 1),
    }
    with open_lab() as lab:
        lab.plan(metrics={"edge_bps": None, "edge_bps.above.0.5": None} | dict.fromkeys(parts))
        reports = []
        for i in range(trades):
            at = {"market_id": f"m{market[i]:02}"}
            second = 86_400.0 * day[i] + 60 * (i % (trades // 2))
            live, replayed = ({name: float(column[i]) for name, column in arms[arm].items()} for arm in arms)
            reports += [
                report(f"c{i}", f"o{i}", second, **at, **live),
                variant_report(f"v{i}", f"o{i}", second, **at, **live),
                replayed_report(f"r{i}", f"o{i}", second, **at, **replayed),
            ]
        lab.ingest(*reports)
        build_pairs(lab.connection, ["exp"])
        build_cells(lab.connection, ["exp"])
        rows = lab.rows(
            "SELECT metric, n_pairs, n_markets, mean_gap, se FROM replay_gaps ORDER BY day, metric"
        )
    assert [row[0] for row in rows] == sorted(["edge_bps", "edge_bps.above.0.5", *parts]) * 2
    for place, (metric, n_pairs, n_markets, mean, se) in enumerate(rows):
        here = day == place // 5
        assert (n_pairs, n_markets) == (here.sum(), markets)
        found = []
        for values in (arms["replayed"], arms["live"]):
            if metric in parts:
                name, size, sign = parts[metric]
                product = (
                    values["filled_size"] if name is None else sign * values[name] * values["filled_size"]
                )
                found.append(np.column_stack((product, values[size]))[here])
            else:
                single = values["edge_bps"] if metric == "edge_bps" else values["edge_bps"] > 0.5
                found.append(np.column_stack((single, np.ones(trades)))[here])
        assert (mean, se) == pytest.approx(delta_method(*found, market[here]), rel=1e-6)


def test_a_day_on_which_one_arm_traded_nothing_has_no_gap_by_size(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    by_size = "edge_bps.by.filled_size"
    put_cells(connection, [(0, "m0", [1.0]), (0, "m1", [2.0])], metric=by_size, ratios=(3.0, 2.0, 0.0, 0.0))
    connection.execute("UPDATE series_cells SET comparison = 'replay_gap'")
    assert connection.execute("SELECT n_pairs, mean_gap, se FROM replay_gaps").fetchall() == [(2, None, None)]
    connection.execute("UPDATE experiment_metrics SET metric = ? WHERE role = 'primary'", [by_size])
    assert replay_is_true(connection).passed


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
        assert f"strat.exp: on {day} the gap in edge_bps was" in str(result.description)


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
