"""The stated uplift is the mean of the generated values, and they have the stated correlations."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.generator import (
    Scenario,
    build_opportunities,
    build_reports,
    edge_uplift_with_no_trade_as_zero,
    true_uplift,
)
from et_pipeline.generator.scenario import GENERATED

UPLIFT = {
    "edge_bps": -2.0,
    "slippage_bps": 0.7,
    "fill_ratio": 0.03,
    "latency_ms": 15.0,
    "toxicity_bps": -0.4,
    "asked_size": 8.0,
}
SEEDS = range(40)


def _scenario(**fields: object) -> Scenario:
    base = {"experiment_id": "exp", "opportunities": 2_000, "metrics": GENERATED, "uplift": UPLIFT}
    return Scenario(**{**base, **fields})


def _assert_covers(means: list[float], truth: float) -> None:
    """The mean over independent repetitions lies within 4 of its own standard errors of the truth."""
    error = np.std(means, ddof=1) / np.sqrt(len(means))
    assert abs(np.mean(means) - truth) <= 4 * error, (np.mean(means), truth, error)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"market_correlation": 0.3, "block_correlation": 0.3, "block_ar": 0.6},
        {"variant_unfilled": 0.02, "control_unfilled": 0.2, "no_trade_share": 0.2},
        {"noise": 3.0, "zipf": 1.2},
    ],
    ids=["default", "clustered", "own-fill-behaviour", "noisy"],
)
def test_true_uplift_is_the_mean_of_the_pairs(fields: dict[str, object]) -> None:
    scenario = _scenario(**fields)
    truth = true_uplift(scenario)
    frames = [build_opportunities(scenario, seed=seed).filter("variant_reports") for seed in SEEDS]
    for name in scenario.metrics:
        _assert_covers([frame[f"{name}_uplift"].mean() for frame in frames], truth[name])


def test_true_uplift_of_arms_that_never_meet() -> None:
    scenario = _scenario(mode="limited_live", traffic_split_pct=40)
    truth = true_uplift(scenario)
    reports = [build_reports(scenario, seed=seed) for seed in SEEDS]
    for name in scenario.metrics:
        means = [
            CATALOGUE[name].direction
            * (frame.filter(pl.col("arm") == 1)[name].mean() - frame.filter(pl.col("arm") == 0)[name].mean())
            for frame in reports
        ]
        _assert_covers(means, truth[name])


def test_size_ratio_is_a_ratio_of_means() -> None:
    scenario = _scenario()
    ratios = []
    for seed in SEEDS:
        total = (
            build_opportunities(scenario, seed=seed).select(pl.col("^.*_size_.*$").sum()).row(0, named=True)
        )
        ratios.append(
            total["filled_size_variant"] / total["asked_size_variant"]
            - total["filled_size_control"] / total["asked_size_control"]
        )
    assert true_uplift(scenario)["size_fill_ratio"] == pytest.approx(0.03)
    _assert_covers(ratios, 0.03)


def test_edge_where_a_passed_opportunity_counts_as_zero() -> None:
    scenario = _scenario(no_trade_share=0.3)
    means = [
        build_opportunities(scenario, seed=seed)
        .select(pl.col("edge_bps_variant") * pl.col("variant_reports") - pl.col("edge_bps_control"))
        .to_series()
        .mean()
        for seed in SEEDS
    ]
    _assert_covers(means, edge_uplift_with_no_trade_as_zero(scenario))
    assert edge_uplift_with_no_trade_as_zero(_scenario()) == pytest.approx(UPLIFT["edge_bps"])


def _intraclass_correlation(values: np.ndarray, group: np.ndarray) -> float:
    """One-way analysis-of-variance estimate of the share of variance between groups."""
    _, code = np.unique(group, return_inverse=True)
    n, counts = len(values), np.bincount(code)
    means = np.bincount(code, values) / counts
    between = np.sum(counts * (means - values.mean()) ** 2) / (len(counts) - 1)
    within = np.sum((values - means[code]) ** 2) / (n - len(counts))
    size = (n - np.sum(counts**2) / n) / (len(counts) - 1)
    return (between - within) / (between + (size - 1) * within)


def _correlations(metric: str, **fields: object) -> tuple[float, float]:
    """Mean intraclass correlation of the uplift within markets and within blocks, over some seeds."""
    scenario = _scenario(opportunities=6_000, markets=60, **fields)
    found = []
    for seed in range(6):
        frame = build_opportunities(scenario, seed=seed).drop_nulls(f"{metric}_uplift")
        values = frame[f"{metric}_uplift"].to_numpy()
        hours = frame["time"].dt.truncate("1h").to_physical().to_numpy()
        found.append(
            (
                _intraclass_correlation(values, frame["market"].to_numpy()),
                _intraclass_correlation(values, hours),
            )
        )
    return tuple(np.mean(found, axis=0))


@pytest.mark.parametrize("metric", ["edge_bps", "slippage_bps", "toxicity_bps", "latency_ms", "fill_ratio"])
def test_uplifts_move_together_within_markets_and_hours(metric: str) -> None:
    # a burst lies in one market and one hour, so each effect alone shows a little in the other clustering
    market_only = _correlations(metric, market_correlation=0.3, block_correlation=0.0)
    block_only = _correlations(metric, market_correlation=0.0, block_correlation=0.3)
    none = _correlations(metric, market_correlation=0.0, block_correlation=0.0)
    assert market_only[0] > 0.05
    assert block_only[1] > 0.05
    assert market_only[0] > 2 * market_only[1]
    assert block_only[1] > 2 * block_only[0]
    assert max(map(abs, none)) < 0.02


def test_intraclass_correlation_of_slippage_is_the_stated_one() -> None:
    by_market, _ = _correlations("slippage_bps", market_correlation=0.4, block_correlation=0.0)
    _, by_block = _correlations("slippage_bps", market_correlation=0.0, block_correlation=0.4)
    assert by_market == pytest.approx(0.4, abs=0.1)
    assert by_block == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize(("ar", "low", "high"), [(0.0, -0.15, 0.15), (0.8, 0.55, 0.9)])
def test_neighbouring_blocks_follow_the_stated_autocorrelation(ar: float, low: float, high: float) -> None:
    scenario = _scenario(opportunities=40_000, block_correlation=0.6, market_correlation=0.0, block_ar=ar)
    found = []
    for seed in range(3):
        frame = build_opportunities(scenario, seed=seed)
        means = frame.group_by(pl.col("time").dt.truncate("1h")).agg(pl.col("slippage_bps_uplift").mean())
        path = means.sort("time").upsample("time", every="1h").to_series(1).to_numpy()
        last, following = path[:-1], path[1:]
        both = ~np.isnan(last) & ~np.isnan(following)
        found.append(np.corrcoef(last[both], following[both])[0, 1])
    assert low < np.mean(found) < high


def test_block_length_sets_what_moves_together() -> None:
    scenario = _scenario(
        opportunities=20_000,
        block=timedelta(days=1),
        block_correlation=0.5,
        market_correlation=0.0,
        block_ar=0.0,
    )
    frame = build_opportunities(scenario, seed=1).drop_nulls("slippage_bps_uplift")
    days = frame["time"].dt.truncate("1d").to_physical().to_numpy()
    assert _intraclass_correlation(frame["slippage_bps_uplift"].to_numpy(), days) > 0.15


def test_both_arms_are_correlated_and_heavy_tailed() -> None:
    frame = build_opportunities(_scenario(opportunities=50_000), seed=3).drop_nulls()
    for name in ("edge_bps", "slippage_bps", "latency_ms", "fill_ratio", "toxicity_bps"):
        assert np.corrcoef(frame[f"{name}_control"], frame[f"{name}_variant"])[0, 1] > 0.3
    latency = frame["latency_ms_control"]
    assert latency.quantile(0.99) > 5 * latency.median()
    assert frame["slippage_bps_control"].skew() > 1
    assert frame["edge_bps_uplift"].kurtosis() > 3


def test_fill_ratio_has_its_masses() -> None:
    scenario = _scenario(
        opportunities=50_000,
        control_unfilled=0.2,
        control_full=0.5,
        market_correlation=0.0,
        block_correlation=0.0,
    )
    frame = build_opportunities(scenario, seed=5)
    control = frame["fill_ratio_control"]
    assert (control == 0).mean() == pytest.approx(0.2, abs=0.01)
    assert (control == 1).mean() == pytest.approx(0.5, abs=0.01)
    assert (frame["fill_ratio_variant"] == 0).mean() == pytest.approx(0.1, abs=0.01)
    unfilled = frame.filter(control == 0)
    assert unfilled["edge_bps_control"].unique().to_list() == [0.0]
    assert unfilled["slippage_bps_control"].null_count() == len(unfilled)


def test_opportunities_of_a_burst_are_alike() -> None:
    frame = build_opportunities(_scenario(opportunities=20_000), seed=2).drop_nulls()
    key = ["market", "outcome", "side"]
    near = frame.sort(*key, "time").with_columns(
        pl.col("edge_bps_control").shift().over(key).alias("edge_before"),
        pl.col("time").diff().over(key).alias("gap"),
    )
    near = near.filter(pl.col("gap") <= timedelta(seconds=2))
    assert len(near) > 5_000
    assert np.corrcoef(near["edge_bps_control"], near["edge_before"])[0, 1] > 0.4
