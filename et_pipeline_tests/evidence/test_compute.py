"""Evidence from cells: figures computed by hand; and a path that is continued is equal to one computed from the
beginning."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from et_pipeline.common.times import epoch_microseconds
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.evidence.compute import build_evidence, read_series
from et_pipeline.evidence.paths import finite, inference_cells, read_cells
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.inference.cells import as_cells
from et_pipeline.inference.drift import WINDOW, drift_path
from et_pipeline.inference.horizon import Horizon, further_pairs, on_horizon
from et_pipeline.inference.twoway import interval_path
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import HOUR_US, METRICS, START, add_experiment, hour, put_cells

TABLES = ("interval_path", "intervals", "diagnostics", "drift", "sample_ratio")


@pytest.fixture
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as opened:
        add_experiment(opened, settings)
        yield opened


def tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple]]:
    return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


def random_cells(
    blocks: int, markets: int, seed: int, *, mean: float = 0.0, fall_at: int | None = None
) -> list[tuple[int, str, list[float]]]:
    """Pairs with effects of their market and hour; from `fall_at` on the uplift lies 8 lower."""
    rng = np.random.default_rng(seed)
    of_market, of_block = rng.normal(0, 1, markets), rng.normal(0, 1, blocks)
    return [
        (
            block,
            f"m{market:02}",
            (
                mean
                - (8.0 if fall_at is not None and block >= fall_at else 0.0)
                + of_market[market]
                + of_block[block]
                + rng.normal(0, 4, rng.integers(1, 4))
            ).tolist(),
        )
        for block in range(blocks)
        for market in range(markets)
        if rng.random() < 0.4
    ]


HAND = [(0, "a", [1.0, 3.0]), (0, "b", [-1.0]), (1, "a", [5.0]), (3, "b", [0.5, 1.5, 4.0])]
"""Seven pairs; hour 2 has none. Sums: 3, 8, 14 after hours 0, 1, 3."""


def test_counts_and_means_by_hand(connection):
    put_cells(connection, HAND)
    outcome = build_evidence(connection, ["exp"])
    path = connection.execute(
        "SELECT as_of, n_pairs, n_markets, n_blocks, mean_uplift, closed FROM interval_path "
        "WHERE metric = 'edge_bps' ORDER BY as_of"
    ).fetchall()
    assert path == [
        (hour(1), 3, 2, 1, 1.0, True),
        (hour(2), 4, 2, 2, 2.0, True),
        (hour(4), 7, 2, 3, 2.0, False),
    ]
    assert outcome == (("exp",), 3)
    assert connection.execute("SELECT count(*) FROM stale_paths").fetchone() == (0,)


def test_below_ten_clusters_nothing_is_ready_and_the_interval_unbounded(connection):
    put_cells(connection, HAND)
    build_evidence(connection, ["exp"])
    rows = connection.execute(
        "SELECT effective_clusters, ready, ci_lower, ci_upper, se IS NULL FROM interval_path ORDER BY as_of"
    ).fetchall()
    # One hour: 3²/3² blocks before the toll of their uncertainty; its spread cannot be known, so se is null.
    assert rows[0][1:] == (False, None, None, True)
    assert all(clusters < 10 and not ready for clusters, ready, *_ in rows)


def not_finite(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Every column of the warehouse that holds NaN or an infinite number."""
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE data_type = 'DOUBLE' AND NOT internal"
    ).fetchall()
    return [
        (table, column)
        for table, column in columns
        if connection.execute(f"SELECT EXISTS (FROM {table} WHERE NOT isfinite({column}))").fetchall()
        == [(True,)]
    ]


@pytest.mark.parametrize("estimator", ["mean", "bounded"])
def test_no_number_in_a_table_is_infinite(connection, estimator):
    connection.execute("UPDATE experiment_metrics SET estimator = ?", [estimator])
    put_cells(connection, [*HAND, *((hour, "c", [9000.0 - hour]) for hour in range(4, 300))])
    build_evidence(connection, ["exp"])
    unbounded = connection.execute("SELECT count(*) FROM interval_path WHERE ci_lower IS NULL").fetchone()
    assert (unbounded != (0,)) == (estimator == "mean"), "a bounded metric has an interval from the beginning"
    assert not_finite(connection) == []


def test_evidence_beyond_what_a_double_holds_is_the_largest_double():
    frame = pl.DataFrame({"e_value": [1.0, math.inf, math.nan], "ci_lower": [0.5, -math.inf, math.nan]})
    assert finite(frame).to_dict(as_series=False) == {
        "e_value": [1.0, sys.float_info.max, None],
        "ci_lower": [0.5, None, None],
    }


def test_diagnostics_by_hand(connection):
    put_cells(connection, HAND)
    for number, uplift in enumerate([1.0, 3.0, -1.0, 5.0, 0.5, 1.5, 4.0]):
        add_pair(connection, number, edge=uplift)
    build_evidence(connection, ["exp"])
    found = connection.execute(
        "SELECT median_uplift, sd_uplift, share_won, largest_market, largest_market_share, "
        "mean_without_largest_market FROM diagnostics"
    ).fetchone()
    deviations = [-1.0, 1.0, -3.0, 3.0, -1.5, -0.5, 2.0]
    sd = math.sqrt(sum(value**2 for value in deviations) / 6)
    assert found == (1.5, pytest.approx(sd), 6 / 7, "b", 4 / 7, 3.0)


def test_levels_by_hand(connection):
    put_cells(
        connection, HAND, ratios=lambda own: (10.0 * len(own), len(own), 10.0 * len(own) + sum(own), len(own))
    )
    build_evidence(connection, ["exp"])
    control, variant, change = connection.execute(
        "SELECT mean_control, mean_variant, relative_change FROM diagnostics"
    ).fetchone()
    assert (control, variant) == (10.0, pytest.approx(12.0))
    assert change is None, "an edge may be negative, so a relative change of it says nothing"


@pytest.mark.parametrize(
    ("metric", "control", "variant", "change"),
    [("latency_ms", 80.0, 100.0, 0.25), ("fill_ratio", 0.5, 0.4, -0.2), ("edge_bps", 0.1, 0.2, None),
     ("latency_ms", None, 100.0, None), ("filled_size", 0.0, 1.0, None)],
)  # fmt: skip
def test_a_change_is_told_where_it_means_something(metric, control, variant, change):
    assert CATALOGUE[metric].change(control, variant) == (change if change is None else pytest.approx(change))


def test_the_path_is_the_inference_s_own(connection):
    cells = random_cells(60, 30, seed=1, mean=1.0)
    put_cells(connection, cells)
    build_evidence(connection, ["exp"])
    blocks = [block * HOUR_US for block, *_ in cells]
    markets = [int(market[1:]) for _, market, _ in cells]
    values = [np.array(uplifts) for *_, uplifts in cells]
    (series,) = [
        item
        for item in read_series(connection, registered_experiments(connection, ["exp"]))
        if item.terms.name == "edge_bps"
    ]
    direct = interval_path(
        as_cells(
            blocks,
            markets,
            [len(x) for x in values],
            [x.mean() for x in values],
            [((x - x.mean()) ** 2).sum() for x in values],
        ),
        alpha=0.05,
        g=series.experiment.g,
    )
    found = connection.execute(
        "SELECT mean_uplift, se, effective_clusters, ci_lower, ci_upper FROM interval_path "
        "WHERE metric = 'edge_bps' AND n_blocks > 1 ORDER BY as_of"
    ).fetchnumpy()
    expected = (direct.mean, direct.se, direct.clusters, direct.ci_lower, direct.ci_upper)
    for name, column in zip(found, expected, strict=True):
        known = np.where(np.isfinite(column[1:]), column[1:], np.nan)
        stored = np.ma.filled(np.ma.asarray(found[name]).astype(float), np.nan)
        np.testing.assert_allclose(stored, known, rtol=1e-9, err_msg=name)
    assert direct.ready[-1], "an example that never gets an interval would show nothing"


def test_a_row_hangs_on_nothing_later(connection):
    cells = random_cells(40, 25, seed=2)
    put_cells(connection, cells)
    build_evidence(connection, ["exp"])
    query = "SELECT * EXCLUDE closed FROM interval_path WHERE as_of <= ? ORDER BY as_of"
    whole = connection.execute(query, [hour(20)]).fetchall()
    connection.execute("DELETE FROM series_cells WHERE block >= ?", [hour(20)])
    build_evidence(connection, ["exp"], full=True)
    assert connection.execute(query, [hour(20)]).fetchall() == whole
    assert connection.execute("SELECT max(as_of) FROM interval_path").fetchone() == (hour(20),)


def test_ticks_with_late_cells_equal_one_computation(connection):
    """Blocks arrive in pieces; every third tick also touches an old block or takes a market's cell away."""
    cells = random_cells(48, 20, seed=3)
    for tick in range(0, 48, 6):
        put_cells(connection, [cell for cell in cells if tick <= cell[0] < tick + 6])
        if tick % 18 == 12:
            put_cells(connection, [(tick - 9, "m03", [7.0, -2.0]), (tick, "late", [1.0])])
            gone = connection.execute(
                "DELETE FROM series_cells WHERE block = ? AND market_id = 'm05' RETURNING block",
                [hour(tick - 4)],
            ).fetchall()
            for (block,) in gone:
                connection.execute("INSERT INTO stale_paths VALUES ('exp', ?)", [block])
        build_evidence(connection, ["exp"])
    step_by_step = tables(connection)
    build_evidence(connection, ["exp"], full=True)
    assert tables(connection) == step_by_step
    assert len(step_by_step["interval_path"]) == 48


def test_only_what_may_have_changed_is_written(connection):
    put_cells(connection, random_cells(30, 15, seed=4))
    build_evidence(connection, ["exp"])
    for table in ("series_interval_path", "series_drift"):
        connection.execute(
            f"UPDATE {table} SET as_of = as_of - INTERVAL 1 SECOND WHERE as_of < ?", [hour(25)]
        )
    put_cells(connection, [(25, "m01", [3.0])])
    outcome = build_evidence(connection, ["exp"])
    # The block before the touched one may have been closed by it: hours 24 to 29 end at 25 to 30.
    assert outcome.rows == 6
    for table in ("series_interval_path", "series_drift"):
        kept = connection.execute(f"SELECT count(*) FROM {table} WHERE second(as_of) = 59").fetchone()
        assert kept == (24,), f"{table}: rows before it are left alone"
    assert build_evidence(connection, ["exp"]) == ((), 0), "nothing is stale, nothing is written"


def test_an_experiment_whose_cells_are_all_gone_keeps_no_evidence(connection):
    put_cells(connection, HAND)
    build_evidence(connection, ["exp"])
    connection.execute("DELETE FROM series_cells")
    connection.execute("INSERT INTO stale_paths VALUES ('exp', ?)", [hour(0)])
    build_evidence(connection, ["exp"])
    assert tables(connection) == {name: [] for name in TABLES}


def test_other_experiments_are_left_alone(connection, settings):
    add_experiment(connection, settings, "other")
    put_cells(connection, HAND)
    put_cells(connection, HAND, experiment="other")
    assert build_evidence(connection, ["other"]).experiments == ("other",)
    assert connection.execute("SELECT DISTINCT experiment_id FROM interval_path").fetchall() == [("other",)]
    assert connection.execute("SELECT DISTINCT experiment_id FROM stale_paths").fetchall() == [("exp",)]


def drift_rows(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    return connection.execute(
        "SELECT as_of, log_evidence, threshold, alarm, since FROM drift WHERE metric = 'edge_bps' ORDER BY as_of"
    ).fetchall()


@pytest.fixture(scope="module")
def long_cells() -> list[tuple[int, str, list[float]]]:
    return random_cells(WINDOW + 60, 24, seed=5, fall_at=WINDOW - 20)


def test_the_detector_s_window_cuts_nothing_off(connection, long_cells):
    """The table is computed stretch by stretch; the inference over all blocks at once is the judge."""
    put_cells(connection, long_cells)
    build_evidence(connection, ["exp"])
    (series,) = [
        item
        for item in read_series(connection, registered_experiments(connection, ["exp"]))
        if item.terms.name == "edge_bps"
    ]
    judge = drift_path(inference_cells(read_cells(connection, series)), alpha=series.experiment.drift_alpha)
    rows = drift_rows(connection)
    assert len(rows) == len(judge.block) == WINDOW + 60
    stored = [-math.inf if row[1] is None else row[1] for row in rows]
    np.testing.assert_allclose(stored, judge.log_m, rtol=1e-6, atol=1e-9)
    assert [row[3] for row in rows] == judge.alarm.tolist()
    assert rows[-1][3], "an example without an alarm would show little"
    assert {row[2] for row in rows} == {-math.log(series.experiment.drift_alpha)}
    onset = rows[-1][4]
    assert abs(onset - hour(WINDOW - 20)) <= timedelta(hours=24)


def test_the_detector_continued_equals_computed_anew(connection, long_cells):
    for first, last in ((0, WINDOW - 5), (WINDOW - 5, WINDOW + 3), (WINDOW + 3, WINDOW + 60)):
        put_cells(connection, [cell for cell in long_cells if first <= cell[0] < last])
        build_evidence(connection, ["exp"])
    put_cells(connection, [(WINDOW - 2, "m01", [2.0])])
    build_evidence(connection, ["exp"])
    continued = drift_rows(connection)
    build_evidence(connection, ["exp"], full=True)
    assert drift_rows(connection) == continued


def test_a_secondary_metric_raises_no_drift(connection):
    put_cells(connection, HAND)
    put_cells(connection, HAND, metric="slippage_bps")
    put_cells(connection, HAND, metric="size_fill_ratio", ratios=(1.0, 2.0, 1.0, 2.0))
    build_evidence(connection, ["exp"])
    found = connection.execute("SELECT DISTINCT metric, margin FROM drift ORDER BY 1").fetchall()
    assert found == [("edge_bps", 0.0), ("slippage_bps", 1.0)]


def test_a_ratio_is_the_difference_of_two_ratios(connection):
    rng = np.random.default_rng(6)
    cells = random_cells(40, 20, seed=6)
    asked = rng.uniform(1, 50, (len(cells), 2))
    filled = asked * rng.uniform(0.3, 0.9, (len(cells), 2)) + [0.0, 0.05] * asked
    totals = iter(np.column_stack((filled[:, 0], asked[:, 0], filled[:, 1], asked[:, 1])).tolist())
    put_cells(connection, cells, metric="size_fill_ratio", ratios=lambda _: next(totals))
    build_evidence(connection, ["exp"])
    mean, se, low, high, method = connection.execute(
        "SELECT mean_uplift, se, ci_lower, ci_upper, method FROM intervals WHERE metric = 'size_fill_ratio'"
    ).fetchone()
    control, variant = filled.sum(axis=0) / asked.sum(axis=0)
    assert mean == pytest.approx(variant - control, rel=1e-12)
    # Delta method: a cell's share in the error of the difference, scaled so that the mean's formula applies.
    influence = (filled[:, 1] - variant * asked[:, 1]) / asked[:, 1].sum() - (
        filled[:, 0] - control * asked[:, 0]
    ) / asked[:, 0].sum()
    n = np.array([len(uplifts) for *_, uplifts in cells])
    linear = as_cells(
        [block for block, *_ in cells],
        [int(market[1:]) for _, market, _ in cells],
        n,
        influence * n.sum() / n,
        np.zeros(len(n)),
    )
    direct = interval_path(linear, alpha=0.05, g=1.0).at(-1)
    assert se == pytest.approx(direct.se, rel=1e-9)
    assert low < mean < high and "delta method" in method


def add_pair(
    connection: duckdb.DuckDBPyConnection,
    number: int,
    *,
    block: int = 0,
    edge: float | None = None,
    variant: bool = True,
    experiment: str = "exp",
) -> None:
    connection.execute(
        "INSERT INTO pairs BY NAME SELECT ? AS experiment_id, ? AS pair_time, ? AS block, 'm' AS market_id, "
        "'yes' AS outcome_id, 'BUY' AS side, ? AS correlation_id, ? AS control_report_id, ? AS variant_report_id, "
        "?::DOUBLE AS edge_bps_uplift, ?::UBIGINT AS opportunity_key, 1 AS candidates",
        [
            experiment,
            hour(block),
            hour(block),
            f"o{number}",
            f"c{number}",
            f"v{number}" if variant else None,
            edge,
            number,
        ],
    )


def add_unmatched(
    connection: duckdb.DuckDBPyConnection, arm: str, count: int, *, block: int, reason: str = "no_partner"
) -> None:
    connection.execute(
        "INSERT INTO unmatched SELECT 'live', ?, ?, ? || i, ?, ?, 'm', 'yes', 'BUY', ? || i, i, NULL "
        "FROM range(?) AS numbers(i)",
        [arm, reason, f"{arm}-{block}-", hour(block), hour(block), f"{reason}-{block}-", count],
    )


def test_the_sample_ratio_counts_pairs_and_what_found_no_partner(connection, settings):
    live = {
        "mode": "limited_live",
        "traffic_split_pct": 25,
        "matching": {"method": "nearest", "tolerance": "30s"},
    }
    add_experiment(connection, settings, "live", **live)
    for number in range(10):
        add_pair(connection, number, block=number // 5, experiment="live")
    add_unmatched(connection, "control", 20, block=0)
    add_unmatched(connection, "control", 5, block=1, reason="superseded")
    add_unmatched(connection, "variant", 3, block=1)
    build_evidence(connection, ["exp", "live"])
    query = "SELECT experiment_id, as_of, n_control, n_variant, planned_share, observed_share, alarm FROM sample_ratio"
    assert connection.execute(f"{query} ORDER BY as_of").fetchall() == [
        ("live", hour(1), 25, 5, 0.25, 5 / 30, False),
        ("live", hour(2), 30, 13, 0.25, 13 / 43, False),
    ]
    add_unmatched(connection, "variant", 60, block=2)
    build_evidence(connection, ["live"])
    assert connection.execute(f"{query} ORDER BY as_of DESC LIMIT 1").fetchall() == [
        ("live", hour(3), 30, 73, 0.25, 73 / 103, True)
    ], "counted anew although no cell was touched"
    written = connection.execute("SELECT rowid FROM sample_ratio ORDER BY rowid").fetchall()
    build_evidence(connection, ["live"])
    assert connection.execute("SELECT rowid FROM sample_ratio ORDER BY rowid").fetchall() == written


def test_each_block_is_held_against_the_split_of_its_time(connection, settings):
    """A split that an amendment lowers from 50 to 10 raises no alarm about the day before it."""
    live = {"mode": "limited_live", "matching": {"method": "nearest", "tolerance": "30s"}}
    add_experiment(connection, settings, "live", **live, traffic_split_pct=50)
    add_pair(connection, 0, block=0, experiment="live")
    for block in range(24):
        add_unmatched(connection, "control", 50, block=block)
        add_unmatched(connection, "variant", 50, block=block)
    build_evidence(connection, ["live"])
    add_experiment(connection, settings, "live", **live, traffic_split_pct=10, now=hour(24))
    for block in range(24, 34):
        add_unmatched(connection, "control", 180, block=block)
        add_unmatched(connection, "variant", 20, block=block)
    build_evidence(connection, ["live"])
    rows = "SELECT planned_share, n_control, n_variant FROM sample_ratio ORDER BY as_of"
    found = connection.execute(rows).fetchall()
    assert [row[0] for row in found[:2]] == [0.5, 0.5]
    assert found[-1] == (0.1, 1800, 200)
    assert connection.execute("SELECT count(*) FROM sample_ratio WHERE alarm").fetchall() == [(0,)]


def test_a_failure_leaves_everything_as_it_was(connection, tmp_path: Path):
    """One transaction: the stale marks come back with the rows."""
    put_cells(connection, HAND)
    build_evidence(connection, ["exp"])
    before = tables(connection)
    put_cells(connection, [(4, "a", [9.0])])
    connection.execute("ALTER TABLE sample_ratio RENAME TO elsewhere")
    connection.execute("UPDATE experiments SET mode = 'limited_live'")
    with pytest.raises(duckdb.CatalogException):
        build_evidence(connection, ["exp"])
    connection.execute("ALTER TABLE elsewhere RENAME TO sample_ratio")
    assert tables(connection) == before
    assert connection.execute("SELECT block FROM stale_paths").fetchall() == [(hour(4),)]


def test_a_block_is_closed_when_both_arms_have_moved_past_it(connection):
    """Whatever came first, and although no cell changes; what is taken back opens it again."""
    put_cells(connection, HAND)
    ends = [(hour(1),), (hour(2),), (hour(4),)]
    for control, variant, closed in (
        (None, None, 0),
        (hour(9), None, 0),
        (hour(9), hour(1) - timedelta(microseconds=1), 0),
        (hour(9), hour(1), 1),
        (hour(2), hour(9), 2),
        (hour(9), hour(9), 3),
        (hour(9), hour(3), 2),
    ):
        connection.execute("UPDATE arm_progress SET control_until = ?, variant_until = ?", [control, variant])
        build_evidence(connection, ["exp"])
        step_by_step = tables(connection)
        found = connection.execute("SELECT as_of FROM interval_path WHERE closed ORDER BY as_of").fetchall()
        assert found == ends[:closed]
        assert connection.execute("SELECT closed FROM intervals").fetchone() == (closed == len(ends),)
        build_evidence(connection, ["exp"], full=True)
        assert tables(connection) == step_by_step


HORIZON = {"boundary": "horizon", "min_samples_for_decision": 50}


@pytest.fixture
def planned(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Hours of five days and eight hours: 64 looks, two hours apart."""
    with open_warehouse(settings) as opened:
        end = (START + timedelta(hours=128)).replace(tzinfo=UTC)
        metrics = [*METRICS, {"name": "fill_ratio", "role": "guardrail", "non_inferiority_margin": 0.2,
                              "estimator": "bounded"}]  # fmt: skip
        add_experiment(opened, settings, ends_at=end, time_block="1h", metrics=metrics, **HORIZON)
        yield opened


def put_all(connection: duckdb.DuckDBPyConnection, cells: list[tuple[int, str, list[float]]]) -> None:
    put_cells(connection, cells)
    share = [(block, market, [x / 100 for x in values]) for block, market, values in cells]
    put_cells(connection, share, metric="fill_ratio")

    def ratios(values: Sequence[float]) -> tuple[float, ...]:
        total = float(len(values))
        return total * 0.5, total, total * 0.5 + values[0] / 100, total

    put_cells(connection, cells, metric="size_fill_ratio", ratios=ratios)


def test_a_plan_with_looks_has_the_intervals_of_the_inference_at_them(planned):
    cells = random_cells(100, 25, seed=11, mean=0.5)
    put_cells(planned, cells)
    build_evidence(planned, ["exp"])
    (series,) = [
        item
        for item in read_series(planned, registered_experiments(planned, ["exp"]))
        if item.terms.name == "edge_bps"
    ]
    path = interval_path(inference_cells(read_cells(planned, series)), alpha=0.05, g=series.experiment.g)
    horizon = Horizon(epoch_microseconds(START), HOUR_US, 128, 50)
    direct, alarm = on_horizon(path, horizon, alpha=0.05, alarm_alpha=0.05 / 3)
    found = planned.execute(
        "SELECT ci_lower, ci_upper, p_value, alarm_ci_lower, alarm_ci_upper, ready, carried, look, "
        "degrees_of_freedom, e_value, mean_uplift FROM interval_path WHERE metric = 'edge_bps' ORDER BY as_of"
    ).fetchnumpy()
    look = direct.look
    assert 40 < look.sum() < len(look)
    np.testing.assert_array_equal(found["carried"], ~look)
    np.testing.assert_array_equal(found["look"], horizon.due(path.block))
    expected = (direct.ci_lower, direct.ci_upper, direct.p_value, *alarm, direct.ready)
    for name, column in zip(list(found)[:6], expected, strict=True):
        known = np.where(np.isfinite(column[look]), column[look], np.nan)
        np.testing.assert_array_equal(
            np.ma.filled(np.ma.asarray(found[name][look]).astype(float), np.nan), known, err_msg=name
        )
    for name, column in (("degrees_of_freedom", path.degrees), ("mean_uplift", path.mean)):
        np.testing.assert_allclose(found[name], column, rtol=1e-12)
    np.testing.assert_allclose(found["e_value"], path.e_value, rtol=1e-12, err_msg="the mixture's")
    assert direct.ready[-1] and not direct.ready[look][:12].any()
    methods = planned.execute("SELECT DISTINCT method, looks FROM interval_path").fetchall()
    assert methods == [("two-way t at the plan's looks", 64)]


def test_a_row_between_looks_says_so_and_when_the_next_one_is(planned):
    put_all(planned, random_cells(128, 25, seed=12))
    build_evidence(planned, ["exp"])
    rows = planned.execute(
        "SELECT metric, as_of, look, carried, next_look_at, ci_lower, ci_upper, p_value, ready FROM interval_path "
        "ORDER BY metric, as_of"
    ).fetchall()
    assert {row[0] for row in rows} == {"edge_bps", "fill_ratio", "size_fill_ratio"}
    for before, after in itertools.pairwise(rows):
        metric, as_of, look, carried, following, *interval = after
        if before[0] == metric and carried:
            assert (look, interval) == (before[2], list(before[5:]))
        number = max(look + 1, 13)
        assert following == (None if look == 64 else START + timedelta(hours=2 * number))
        assert look == (as_of - START) // timedelta(hours=2)


@pytest.mark.parametrize(
    "seed", [13, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(14, 20))]
)
def test_late_cells_and_ticks_in_any_order_give_the_same_looks(planned, seed):
    cells = random_cells(128, 15, seed=seed)
    rng = np.random.default_rng(seed)
    parts = [cells[start::4] for start in rng.permutation(4)]
    for part in parts:
        put_all(planned, part)
        build_evidence(planned, ["exp"])
    pieces = tables(planned)
    build_evidence(planned, ["exp"], full=True)
    assert tables(planned) == pieces
    assert not_finite(planned) == []


def test_pairs_that_are_still_needed_come_from_the_looks(planned):
    put_cells(planned, random_cells(40, 25, seed=15, mean=0.9))
    build_evidence(planned, ["exp"])
    ((needed,),) = planned.execute(
        "SELECT pairs_needed FROM diagnostics WHERE metric = 'edge_bps'"
    ).fetchall()
    mean, se, degrees, n, blocks, look = planned.execute(
        "SELECT mean_uplift, se, degrees_of_freedom, n_pairs, n_blocks, look FROM intervals"
    ).fetchone()
    told = further_pairs(mean, se, degrees, n, blocks, look=look, looks=64, alpha=0.05, min_pairs=50)
    assert needed == told > 0
