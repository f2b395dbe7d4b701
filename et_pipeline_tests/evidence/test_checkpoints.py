"""The table of checkpoints is a cache: paths that are continued equal those computed at once, to the last bit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from et_pipeline.evidence.compute import build_evidence, read_series
from et_pipeline.evidence.spread import Spread, spread_of_pairs
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.inference.cells import from_pairs
from et_pipeline.inference.course import course_of
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.evidence.lab import add_experiment, hour, put_cells
from et_pipeline_tests.migrated import put_warehouse

TABLES = ("series_interval_path", "series_intervals", "series_diagnostics", "series_drift", "replay_fidelity")
METRICS: list[dict[str, Any]] = [
    {"name": "edge_bps", "role": "primary", "equivalence_margin": 2.0},
    {"name": "fill_ratio", "role": "guardrail", "non_inferiority_margin": 0.1, "estimator": "bounded"},
    {"name": "latency_ms", "role": "guardrail", "non_inferiority_margin": 0.1, "above": 500},
    {"name": "size_fill_ratio", "role": "secondary"},
]
NAMES = {"edge_bps": 1.0, "fill_ratio": 0.01, "latency_ms_above_500": 0.01, "size_fill_ratio": 0.01}
KINDS = [{"boundary": "mixture", "weighting": "markets"}, {"boundary": "horizon", "weighting": "pairs"}]


def levels(uplifts: list[float]) -> tuple[float, float, float, float]:
    """Totals of both arms that have these uplifts."""
    control = sum(0.3 * uplift for uplift in uplifts)
    return control, len(uplifts), control + sum(uplifts), len(uplifts)


def tables(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple]]:
    return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


def put(connection: duckdb.DuckDBPyConnection, rng: np.random.Generator, blocks: range) -> None:
    """Cells of every metric in some of the blocks, and those of a comparison with the replayed control."""
    markets = rng.choice([f"m{number:02}" for number in range(40)], 6, replace=False)
    places = [(block, str(market)) for block in blocks for market in markets if rng.random() < 0.5]
    for metric, size in NAMES.items():
        values = [
            (block, market, (size * rng.normal(0.3, 4, rng.integers(1, 4))).tolist())
            for block, market in places
        ]
        ratios = (3.0, 7.0, 4.0, 8.0) if metric == "size_fill_ratio" else levels
        put_cells(connection, values, metric=metric, ratios=ratios)
    if not places:
        return
    span = f"block >= TIMESTAMP '{hour(blocks[0])}' AND block < TIMESTAMP '{hour(blocks[-1] + 1)}'"
    connection.execute(f"DELETE FROM series_cells WHERE comparison = 'like_for_like' AND {span}")
    connection.execute(
        "INSERT INTO series_cells SELECT * REPLACE ('like_for_like' AS comparison, sum * 0.9 AS sum) "
        f"FROM series_cells WHERE comparison = 'uplift' AND metric = 'edge_bps' AND {span}"
    )


def take_away(connection: duckdb.DuckDBPyConnection, rng: np.random.Generator, block: int) -> None:
    """Takes all cells of one market from a block on away, as an amended report or a conflict may."""
    gone = connection.execute(
        "DELETE FROM series_cells WHERE block >= ? AND market_id = ? RETURNING block",
        [hour(block), f"m{rng.integers(0, 40):02}"],
    ).fetchall()
    for (start,) in set(gone):
        connection.execute("INSERT INTO stale_paths VALUES ('exp', ?)", [start])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(kind.values()))
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    ticks=st.lists(st.tuples(st.integers(1, 70), st.integers(0, 90), st.booleans()), min_size=2, max_size=3),
)
def test_any_history_gives_the_same_rows_with_or_without_checkpoints(
    tmp_path_factory: pytest.TempPathFactory,
    kind: dict[str, str],
    seed: int,
    ticks: list[tuple[int, int, bool]],
) -> None:
    """Each tick brings blocks, changes one that lies back, and may find the table of checkpoints emptied."""
    rng = np.random.default_rng(seed)
    ours = Settings(data_dir=tmp_path_factory.mktemp("continued"), mode="limited_live")
    put_warehouse(ours)
    with open_warehouse(ours) as connection:
        add_experiment(connection, ours, metrics=METRICS, **kind)
        end = 0
        for more, back, emptied in ticks:
            put(connection, rng, range(end, end + more))
            late = max(end - back, 0)
            put(connection, rng, range(late, late + 1))
            if back % 3 == 0:
                take_away(connection, rng, late)
            end += more
            if emptied:
                connection.execute("DELETE FROM series_checkpoints")
            build_evidence(connection, ["exp"])
        continued = tables(connection)
        build_evidence(connection, ["exp"], full=True)
        assert tables(connection) == continued
        assert continued["series_interval_path"] and continued["series_drift"]


def kept(connection: duckdb.DuckDBPyConnection) -> list[int]:
    return [
        blocks
        for (blocks,) in connection.execute(
            "SELECT blocks FROM series_checkpoints WHERE metric = 'edge_bps' AND comparison = 'uplift' ORDER BY 1"
        ).fetchall()
    ]


def test_only_checkpoints_before_a_change_hold(settings: Settings) -> None:
    with open_warehouse(settings) as connection:
        add_experiment(connection, settings, metrics=METRICS)
        put(connection, np.random.default_rng(1), range(130))
        build_evidence(connection, ["exp"])
        made = kept(connection)
        assert made, "a path of 130 blocks has checkpoints"
        ((until,),) = connection.execute(
            "SELECT last_block FROM series_checkpoints WHERE metric = 'edge_bps' AND comparison = 'uplift' "
            "AND blocks = ?",
            [made[0]],
        ).fetchall()
        # Sums that nobody made show which of them a path goes on from.
        connection.execute("UPDATE series_checkpoints SET sums = '' WHERE blocks > ?", [made[0]])
        block = int((until - hour(0)) / timedelta(hours=1)) + 1
        put_cells(connection, [(block, "m01", [2.0])])
        build_evidence(connection, ["exp"])
        assert kept(connection) == made
        continued = tables(connection)
        build_evidence(connection, ["exp"], full=True)
        assert tables(connection) == continued


@pytest.fixture
def single_pairs(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as connection:
        add_experiment(connection, settings, metrics=METRICS[:1])
        yield connection


VALUES = st.one_of(
    st.lists(st.floats(-500, 500), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, -0.1]), min_size=1, max_size=40),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=VALUES, more=st.lists(VALUES, min_size=1, max_size=3), shift=st.sampled_from([0.0, 0.1, 300.0]))
@example(first=[0.0] * 100 + [1.0] * 100, more=[[1.0]], shift=0.0).via("no pair lies near the median")
def test_the_median_that_is_looked_for_where_it_was_is_the_median(
    single_pairs: duckdb.DuckDBPyConnection, first: list[float], more: list[list[float]], shift: float
) -> None:
    connection, before = single_pairs, Spread()
    (series, *_) = read_series(connection, registered_experiments(connection, ["exp"]))
    connection.execute("DELETE FROM pairs")
    uplifts: list[float] = []
    for number, values in enumerate([first, *more]):
        uplifts += [value + shift * number for value in values]
        connection.executemany(
            "INSERT INTO pairs BY NAME SELECT 'exp' AS experiment_id, now()::TIMESTAMP AS pair_time, "
            "now()::TIMESTAMP AS block, 'm' AS market_id, 'o' AS outcome_id, 'BUY' AS side, 'c' AS correlation_id, "
            "'c' AS control_report_id, 'v' AS variant_report_id, ?::DOUBLE AS edge_bps_uplift, 1::UBIGINT AS opportunity_key, 1 AS candidates",
            [[value + shift * number] for value in values],
        )
        course = course_of(from_pairs([0] * len(uplifts), [0] * len(uplifts), uplifts))
        found = spread_of_pairs(DuckDBEngine(connection), series, course, before)
        assert found == spread_of_pairs(DuckDBEngine(connection), series, course, Spread())
        assert found.median_uplift == pytest.approx(statistics.median(uplifts), rel=1e-15)
        if len(uplifts) > 1:
            assert found.sd_uplift == pytest.approx(statistics.stdev(uplifts), rel=1e-9, abs=1e-9)
        before = found
