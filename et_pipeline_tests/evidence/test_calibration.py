"""Placebo paths from an experiment's own cells: they show whether the promised error rate holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from et_pipeline.commands.calibrate import calibrate as command
from et_pipeline.commands.terminal import CommandError
from et_pipeline.evidence.calibration import (
    SCHEMES,
    Calibrated,
    calibrate,
    placebo,
    processes,
    run_length,
    with_news,
)
from et_pipeline.evidence.compute import build_evidence, read_series
from et_pipeline.evidence.paths import PlannedSeries, path_frame, read_cells
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.conftest import run_et
from et_pipeline_tests.evidence.lab import START, add_experiment, put_cells
from et_pipeline_tests.statistics.scenarios import Scenario, draw

PRIMARY = [{"name": "edge_bps", "role": "primary"}]
BLOCKS, MARKETS = 320, 20
LONG = 1280
TWO_MONTHS = START.replace(tzinfo=UTC) + timedelta(days=60)


@pytest.fixture
def warehouse(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as connection:
        yield connection


def put(
    connection: duckdb.DuckDBPyConnection, settings: Settings, values: Any, **changes: Any
) -> PlannedSeries:
    """An experiment with these cells; its primary series."""
    add_experiment(
        connection, settings, **{"metrics": PRIMARY, "ends_at": TWO_MONTHS, "boundary": "horizon", **changes}
    )
    metric = changes.get("metrics", PRIMARY)[0]["name"]
    put_cells(connection, values, metric=metric)
    [series] = [
        item
        for item in read_series(connection, registered_experiments(connection, ["exp"]))
        if item.terms.role == "primary"
    ]
    return series


def scenario_cells(scenario: Scenario, uplift: float = 0.0) -> list[tuple[int, str, list[float]]]:
    """Cells of simulated pairs."""
    sample = draw(scenario, np.random.default_rng(7))
    found: dict[tuple[int, str], list[float]] = {}
    for block, market, value in zip(sample.block, sample.market, sample.uplift, strict=True):
        found.setdefault((int(block), f"m{market:02}"), []).append(float(value) + uplift)
    return [(block, market, values) for (block, market), values in found.items()]


def cells_with_a_hidden_memory(blocks: int = LONG) -> list[tuple[int, str, list[float]]]:
    """Cells that are wrong: what one block gains is taken back three blocks later, on top of a slow tide.

    The autocorrelations cancel at the lags 2 and 3, so that they seem to be over there, and go on over a sixteenth of the blocks.
    """
    generator = np.random.default_rng(11)
    noise = np.sqrt(2) * generator.normal(size=blocks + 3)
    shock = noise[3:] - noise[:-3] + np.repeat(generator.normal(size=16), blocks // 16)
    return [(block, f"m{block % (blocks // 8):03}", [float(shock[block])]) for block in range(blocks)]


@pytest.mark.parametrize(
    ("scenario", "boundary"),
    [
        (Scenario("clustered", BLOCKS, MARKETS, 3200, market_sd=0.3, block_sd=0.5), "horizon"),
        (Scenario("blocks with a memory", BLOCKS, MARKETS, 3200, block_sd=0.5, phi=0.3), "mixture"),
    ],
    ids=("clustered", "blocks with a memory"),
)
def test_what_the_method_is_made_for_holds_although_the_variant_is_better(
    scenario: Scenario, boundary: str, settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    series = put(warehouse, settings, scenario_cells(scenario, uplift=1.0), boundary=boundary)
    frame = read_cells(warehouse, series)
    found = calibrate(series, frame, flips=100)
    assert [result.scheme for result in found] == list(SCHEMES)
    for result in found:
        assert result.holds and result.flips == 100 and result.alpha == 0.05
        assert result.mc_error == pytest.approx((result.false_share * (1 - result.false_share) / 100) ** 0.5)
        assert result.run_blocks == (10 if result.scheme == "blocks" else None)


def test_cells_whose_memory_the_interval_does_not_see_are_found(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    series = put(warehouse, settings, cells_with_a_hidden_memory())
    by = {result.scheme: result for result in calibrate(series, read_cells(warehouse, series), flips=40)}
    assert not by["blocks"].holds and by["blocks"].false_share > 0.3


def test_the_same_cells_give_the_same_figures_on_one_core_and_on_two(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    series = put(warehouse, settings, scenario_cells(Scenario("plain", 64, 20, 600)), boundary="mixture")
    frame = read_cells(warehouse, series)
    alone = calibrate(series, frame, flips=60)
    with processes(2) as pool:
        assert calibrate(series, frame, flips=60, pool=pool) == alone != []


def test_a_placebo_path_keeps_the_sizes_and_loses_the_uplift(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    series = put(warehouse, settings, scenario_cells(Scenario("plain", 64, 8, 600), uplift=3.0))
    frame = read_cells(warehouse, series)
    centred = np.abs(frame["sum"] - frame["n"] * frame["sum"].sum() / frame["n"].sum())
    for scheme, column in (("markets", "market"), ("blocks", "block")):
        made = placebo(series, frame, scheme, 1)
        assert np.allclose(np.abs(made["sum"]), centred)
        assert made.drop("sum").equals(frame.drop("sum"))
        sign = made.with_columns(
            sign=np.sign(made["sum"] * (frame["sum"] - frame["n"] * frame["sum"].sum() / frame["n"].sum()))
        )
        assert sign.group_by(column).agg(pl.col("sign").n_unique())["sign"].max() == 1
        assert not made.equals(placebo(series, frame, scheme, 2))


def test_bounded_and_ratio_metrics_have_placebos_too(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    generator = np.random.default_rng(5)
    metrics = [{"name": "fill_ratio", "role": "primary", "estimator": "bounded"}]
    cells = [
        (block, f"m{market}", generator.uniform(0.2, 0.9, 3).tolist())
        for block in range(40)
        for market in range(12)
    ]
    series = put(warehouse, settings, cells, metrics=metrics)
    frame = read_cells(warehouse, series)
    for number in range(5):
        made = placebo(series, frame, "markets", number)
        assert (made["sum"].abs() <= series.terms.metric.uplift_range * made["n"]).all()
        assert len(path_frame(series, made)) == 40
    assert all(result.holds for result in calibrate(series, frame, flips=50))


def test_a_ratios_arms_are_made_equal(settings: Settings, warehouse: duckdb.DuckDBPyConnection):
    metrics = [{"name": "size_fill_ratio", "role": "primary"}]
    cells = [(block, f"m{market}", [1.0]) for block in range(40) for market in range(12)]
    add_experiment(warehouse, settings, metrics=metrics)
    put_cells(warehouse, cells, metric="size_fill_ratio", ratios=(6.0, 10.0, 8.0, 10.0))
    [series] = read_series(warehouse, registered_experiments(warehouse, ["exp"]))
    made = placebo(series, read_cells(warehouse, series), "markets", 3)
    assert np.allclose(made["numerator_control"], 6.0) and np.allclose(made["numerator_variant"], 6.0)


def test_what_is_left_over_of_a_ratio_is_flipped_by_market_in_both_arms(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection
):
    generator = np.random.default_rng(9)
    add_experiment(warehouse, settings, metrics=[{"name": "size_fill_ratio", "role": "primary"}])
    put_cells(
        warehouse,
        [(b, f"m{m}", [1.0]) for b in range(9) for m in range(5)],
        metric="size_fill_ratio",
        ratios=(6.0, 10.0, 8.0, 10.0),
    )
    [series] = read_series(warehouse, registered_experiments(warehouse, ["exp"]))
    frame = read_cells(warehouse, series)
    frame = frame.with_columns(numerator_variant=8 + pl.Series(generator.normal(size=len(frame))))
    left = frame["numerator_variant"] - frame["numerator_variant"].mean()
    made = placebo(series, frame, "markets", 2)["numerator_variant"] - 6.0
    assert np.allclose(np.abs(made), np.abs(left))
    signs = frame.select("market", sign=np.sign(made * left)).group_by("market").n_unique()
    assert signs["sign"].max() == 1


def test_runs_are_some_thirty_whatever_the_number_of_blocks():
    assert [run_length(blocks) for blocks in (1, 40, 320, 1257)] == [1, 1, 10, 39]


def test_too_few_clusters_are_told_as_too_early(settings: Settings, warehouse: duckdb.DuckDBPyConnection):
    series = put(warehouse, settings, scenario_cells(Scenario("short", 8, 6, 200)))
    assert calibrate(series, read_cells(warehouse, series), flips=10) == []


def test_share_and_promise():
    def result(share: float, error: float) -> Calibrated:
        return Calibrated("edge_bps", "markets", 500, share, error, 0.05, None, None, 1, "")  # type: ignore[arg-type]

    assert result(0.079, 0.01).holds and not result(0.081, 0.01).holds


@pytest.mark.parametrize("boundary", ["mixture", pytest.param("horizon", marks=pytest.mark.simulate)])
def test_the_command_tells_keeps_and_publishes_what_it_found(settings: Settings, boundary: str):
    """Both cores, the table, the page's section, the asset check, and status 1.

    A boundary over the plan's horizon is solved for each of a thousand paths, which takes a quarter of a minute.
    """
    from et_pipeline.defs.calibration import error_as_promised

    with open_warehouse(settings) as connection:
        put(connection, settings, cells_with_a_hidden_memory(LONG // 2), boundary=boundary)
        build_evidence(connection, ["exp"])
        assert with_news(connection) == ["exp"]
    done = run_et(settings.data_dir, "calibrate", "exp", "--json")
    assert done.returncode == 1, done.stderr
    rows = {row["scheme"]: row for row in json.loads(done.stdout)["calibration"]}
    assert rows["markets"]["holds"] is not None and rows["blocks"]["holds"] is False
    with open_warehouse(settings) as connection:
        kept = connection.execute(
            "SELECT scheme, flips, false_share, holds FROM calibration ORDER BY scheme"
        ).fetchall()
        assert kept == [
            (name, 500, rows[name]["false_share"], rows[name]["holds"]) for name in ("blocks", "markets")
        ]
        assert with_news(connection) == []
        check = error_as_promised(connection)
        assert not check.passed and "exp edge_bps, flipped by blocks" in str(check.description)
    page = (settings.pages_dir / "exp.html").read_text(encoding="utf-8")
    assert "Is the error rate kept on these data?" in page and "runs of 20 blocks" in page


@pytest.mark.parametrize(
    ("name", "every", "said"),
    [("nobody", False, "not a registered experiment"), (None, False, "--all"), ("exp", True, "--all")],
)
def test_what_cannot_be_calibrated_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str | None, every: bool, said: str
):
    with open_warehouse(settings) as connection:
        add_experiment(connection, settings, metrics=PRIMARY)
    monkeypatch.setenv("ET_DATA_DIR", str(settings.data_dir))
    with pytest.raises(CommandError, match=said):
        command(name, every)
