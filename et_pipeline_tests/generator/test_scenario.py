"""What a scenario refuses, and how its reports are distributed over time, markets and arms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.generator import METRICS, Scenario, build_opportunities, build_reports
from et_pipeline.generator.scenario import GENERATED

START = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"mode": "paper"}, "mode"),
        ({"traffic_split_pct": 101}, "traffic_split_pct"),
        ({"opportunities": 0}, "opportunities"),
        ({"late_share": -0.1}, "late_share"),
        ({"block_ar": 1.0}, "block_ar"),
        ({"market_correlation": 0.6, "block_correlation": 0.5}, "block_correlation"),
        ({"starts_at": datetime(2025, 1, 1)}, "starts_at"),
        ({"ends_at": datetime(2024, 1, 1, tzinfo=UTC)}, "ends_at"),
        ({"metrics": ("pnl",)}, "metrics"),
        ({"metrics": ()}, "metrics"),
        ({"metrics": ("slippage_bps",)}, "metrics"),
        ({"uplift": {"pnl": 1.0}}, "uplift"),
        ({"uplift": {"fill_ratio": 0.4}}, "uplift"),
        ({"uplift": {"fill_ratio": -0.7}}, "uplift"),
        ({"uplift": {"latency_ms": 120.0}}, "uplift"),
        ({"control_unfilled": 0.5, "control_full": 0.6}, "control_full"),
        ({"variant_unfilled": 1.0}, "variant_unfilled"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_impossible_scenarios_are_refused_by_field(fields: dict[str, object], name: str) -> None:
    with pytest.raises(ValueError, match=rf"^experiment exp: {name} is .*; allowed: "):
        Scenario(experiment_id="exp", **fields)


def test_values_beyond_the_catalogue_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"experiment exp: edge_bps reaches from .*-10000 <= edge_bps <= 10000"
    ):
        build_reports(Scenario(experiment_id="exp", uplift={"edge_bps": 12_000.0}), seed=1)


def test_extreme_fill_behaviour_is_possible() -> None:
    scenario = Scenario(experiment_id="exp", control_unfilled=0.0, control_full=1.0, variant_unfilled=0.0)
    frame = build_opportunities(scenario, seed=1)
    assert frame["fill_ratio_control"].unique().to_list() == [1.0]
    assert frame["fill_ratio_variant"].unique().to_list() == [1.0]


def test_markets_open_and_close_and_differ_in_size() -> None:
    scenario = Scenario(experiment_id="exp", opportunities=20_000, markets=50, zipf=1.0)
    frame = build_opportunities(scenario, seed=2)
    window = scenario.ends_at - scenario.starts_at
    markets = frame.group_by("market").agg(
        pl.len(),
        (pl.col("time").max() - pl.col("time").min()).alias("life"),
        pl.col("time").min().alias("first"),
    )
    assert markets["life"].max() < 0.7 * window
    assert markets["first"].max() > scenario.starts_at + 0.5 * window
    assert markets["len"].max() > 8 * markets["len"].median()


def test_opportunities_come_in_bursts_and_follow_the_day() -> None:
    frame = build_opportunities(Scenario(experiment_id="exp", opportunities=20_000), seed=2)
    within = frame.sort("market", "outcome", "side", "time").select(
        pl.col("time").diff().over("market", "outcome", "side").dt.total_milliseconds().alias("gap")
    )
    # bursts of 3 on average: two of three opportunities follow one of their own kind within seconds
    assert 0.55 < (within["gap"] <= 2_000).mean() < 0.75
    hours = frame.group_by(pl.col("time").dt.hour()).len()["len"]
    assert hours.max() > 2 * hours.min()


def test_shadow_arms_share_opportunities_and_limited_live_arms_never_do() -> None:
    shadow = build_reports(Scenario(experiment_id="exp", no_trade_share=0.1), seed=4)
    control, variant = (set(shadow.filter(pl.col("arm") == arm)["opportunity"]) for arm in (0, 1))
    assert len(control) == 5_000
    assert variant < control
    assert len(variant) == pytest.approx(4_500, abs=100)
    live = build_reports(Scenario(experiment_id="exp", mode="limited_live", traffic_split_pct=30), seed=4)
    control, variant = (set(live.filter(pl.col("arm") == arm)["opportunity"]) for arm in (0, 1))
    assert not control & variant
    assert len(control | variant) == 5_000
    assert len(variant) == pytest.approx(1_500, abs=140)


def test_a_preliminary_report_precedes_its_final_one() -> None:
    frame = build_reports(Scenario(experiment_id="exp", superseded_share=0.2), seed=4)
    final, early = frame.filter(~pl.col("preliminary")), frame.filter("preliminary")
    both = early.join(final, on=["opportunity", "arm"], suffix="_final")
    assert len(both) == len(early) == pytest.approx(0.2 * len(final), rel=0.1)
    assert (both["emitted_us"] <= both["emitted_us_final"]).all()
    assert (both["edge_bps"] != both["edge_bps_final"]).all()


SCENARIOS = st.builds(
    Scenario,
    experiment_id=st.just("exp"),
    mode=st.sampled_from(["shadow", "limited_live"]),
    starts_at=st.just(START),
    ends_at=st.integers(5, 40_000).map(lambda minutes: START + timedelta(minutes=minutes)),
    opportunities=st.integers(1, 400),
    markets=st.integers(1, 40),
    burst=st.floats(1, 20),
    metrics=st.sampled_from([METRICS, GENERATED, ("edge_bps",), ("fill_ratio", "slippage_bps")]),
    market_correlation=st.floats(0, 0.5),
    block_correlation=st.floats(0, 0.5),
    block_ar=st.floats(-0.9, 0.9),
    traffic_split_pct=st.floats(0, 100),
    no_trade_share=st.floats(0, 1),
    superseded_share=st.floats(0, 1),
    newer_minor_share=st.floats(0, 1),
    variant_unfilled=st.floats(0, 0.2),
)


@settings(max_examples=40, deadline=None)
@given(scenario=SCENARIOS, seed=st.integers(0, 2**32))
def test_every_scenario_keeps_its_window_bounds_and_counts(scenario: Scenario, seed: int) -> None:
    frame = build_reports(scenario, seed=seed)
    final = frame.filter(~pl.col("preliminary"))
    assert len(final) <= scenario.opportunities * (2 if scenario.mode == "shadow" else 1)
    assert final.select("opportunity", "arm").is_unique().all()
    times = frame["emitted_us"].cast(pl.Datetime("us", "UTC"))
    assert len(frame) == 0 or (times.min() >= scenario.starts_at and times.max() < scenario.ends_at)
    assert (frame["emitted_us"].to_numpy() % 1000 == 0).all()
    assert frame["emitted_us"].is_sorted()
    for name in REPORT_METRICS:
        values = frame[name].drop_nulls().to_numpy()
        assert np.isfinite(values).all()
        assert (values >= CATALOGUE[name].lower).all()
        assert (values <= CATALOGUE[name].upper).all()
        assert name in scenario.metrics or not values.size
    assert frame.select(pl.any_horizontal(pl.col(REPORT_METRICS).is_not_null())).to_series().all()
