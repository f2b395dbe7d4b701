"""The replayed control, the third report of an opportunity, and the comparisons with it."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.common.sql import load
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, replayed_report, report, variant_report

REPLAYED = "SELECT correlation_id, replay_report_id, edge_bps_replay FROM pairs ORDER BY ALL"
CELLS = "SELECT comparison, n, sum, winsorised FROM series_cells ORDER BY ALL"
UNMATCHED = "SELECT arm, reason, report_id FROM unmatched ORDER BY ALL"
EXPERIMENT = ["exp"]


def build(lab: Lab, experiments: list[str] = EXPERIMENT) -> None:
    build_pairs(lab.connection, experiments)
    build_cells(lab.connection, experiments)


def test_a_pair_carries_what_the_backtester_made_of_the_controls_trade(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "slippage_bps": None})
    lab.ingest(
        report("c1", "o1", edge_bps=1.0, slippage_bps=4.0),
        variant_report("v1", "o1", edge_bps=7.0, slippage_bps=1.0),
        replayed_report("r1", "o1", 90_000, edge_bps=3.0, slippage_bps=2.0),
        report("c2", "o2"),
        variant_report("v2", "o2", edge_bps=1.0),
    )
    build(lab)
    assert lab.rows(REPLAYED) == [("o1", "r1", 3.0), ("o2", None, None)]
    assert lab.rows("SELECT comparison, metric, n, sum FROM series_cells ORDER BY ALL") == [
        ("like_for_like", "edge_bps", 1, 4.0),
        ("like_for_like", "slippage_bps", 1, 1.0),
        ("replay_gap", "edge_bps", 1, 2.0),
        ("replay_gap", "slippage_bps", 1, 2.0),
        ("uplift", "edge_bps", 2, 6.0),
        ("uplift", "slippage_bps", 1, 3.0),
    ]


def test_without_a_replay_of_the_control_there_is_the_uplift_alone(lab: Lab) -> None:
    lab.plan()
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"))
    build(lab)
    assert lab.rows(CELLS) == [("uplift", 1, 0.0, 0)]


def test_in_limited_live_nothing_is_replayed(lab: Lab) -> None:
    lab.plan(mode="limited_live")
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1", mode="live"), replayed_report("r1", "o1"))
    build(lab)
    assert lab.rows(REPLAYED) == [("o1", None, None)]
    assert lab.rows(UNMATCHED) == []


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.faults)])
def test_whenever_it_comes_in_whatever_order_and_however_often_the_last_replay_counts(
    lab: Lab, every: int
) -> None:
    """In 4 of the 24 orders, each with another report first; `make faults` has all of them."""
    reports = (
        report("c1", "o1", edge_bps=1.0),
        variant_report("v1", "o1", edge_bps=5.0),
        replayed_report("r1", "o1", 50.0, edge_bps=9.0),
        replayed_report("r2", "o1", 60.0, edge_bps=2.0),
    )
    states = []
    for order in list(permutations(reports))[::every]:
        with open_lab() as other:
            other.plan()
            for item in order:
                other.ingest(item)
                build(other)
            states.append(other.state())
    assert all(state == states[0] for state in states)
    lab.plan()
    lab.ingest(*reports)
    build(lab)
    assert lab.state() == states[0]
    assert lab.rows(REPLAYED) == [("o1", "r2", 2.0)]
    assert lab.rows(UNMATCHED) == [("replay", "superseded", "r1")]
    lab.ingest(displaced=[reports[3]])
    build(lab)
    assert lab.rows(REPLAYED) == [("o1", "r1", 9.0)]
    lab.ingest(displaced=[reports[2]])
    build(lab)
    assert lab.rows(CELLS) == [("uplift", 1, 4.0, 0)]


@pytest.mark.parametrize(
    ("control", "variant", "reason"),
    [
        ({}, None, "no_variant"),
        (None, {}, "no_control"),
        (None, None, "no_control"),
        ({"seconds": -5.0}, {}, "too_early"),
        ({"seconds": 40 * 86_400.0}, {}, "after_end"),
        ({}, {"decision": "passed", "edge_bps": None}, "variant_passed"),
    ],
)
def test_a_replay_in_no_pair_is_counted_with_its_opportunitys_reason(
    lab: Lab, control: dict[str, Any] | None, variant: dict[str, Any] | None, reason: str
) -> None:
    lab.plan()
    lab.ingest(replayed_report("r1", "o1", 60.0))
    if control is not None:
        lab.ingest(report("c1", "o1", **control))
    if variant is not None:
        lab.ingest(variant_report("v1", "o1", **variant))
    build(lab)
    assert lab.rows("SELECT reason, report_id FROM unmatched WHERE arm = 'replay'") == [(reason, "r1")]


@pytest.mark.parametrize(("on_no_trade", "value"), [("exclude", None), ("zero", 0.0)])
def test_a_replay_that_passed_counts_as_the_plan_counts_passes(
    lab: Lab, on_no_trade: str, value: float | None
) -> None:
    lab.plan(on_no_trade=on_no_trade)
    lab.ingest(
        report("c1", "o1", edge_bps=1.0),
        variant_report("v1", "o1", edge_bps=5.0),
        replayed_report("r1", "o1", decision="passed", edge_bps=None),
    )
    build(lab)
    assert lab.rows(REPLAYED) == [("o1", "r1", value)]


def test_where_the_variant_is_the_control_they_differ_by_nothing_like_for_like(lab: Lab) -> None:
    lab.plan(variant_strategy_id="c")
    lab.ingest(report("c1", "o1", edge_bps=1.0), replayed_report("r1", "o1", edge_bps=3.0))
    build(lab)
    assert lab.rows(CELLS) == [("like_for_like", 1, 0.0, 0), ("replay_gap", 1, 2.0, 0), ("uplift", 1, 2.0, 0)]


def test_like_for_like_the_difference_is_held_within_the_winsor_limits(lab: Lab) -> None:
    """Held value by value, a flattered pair would be another one than the same pair as it was."""
    lab.plan(metrics={"edge_bps": (-5.0, 5.0)})
    lab.ingest(
        report("c1", "o1", edge_bps=0.0),
        variant_report("v1", "o1", edge_bps=8.0),
        replayed_report("r1", "o1", edge_bps=7.0),
        report("c2", "o2", edge_bps=0.0),
        variant_report("v2", "o2", edge_bps=30.0),
        replayed_report("r2", "o2", edge_bps=-30.0),
    )
    build(lab)
    assert lab.rows(CELLS) == [
        ("like_for_like", 2, 11.0, 1),
        ("replay_gap", 2, 0.0, 2),
        ("uplift", 2, 10.0, 2),
    ]


dyadic = st.integers(-4_000, 4_000).map(lambda number: number / 16)


@settings(max_examples=5, deadline=None)
@given(
    trades=st.lists(st.tuples(dyadic, dyadic, dyadic), min_size=1, max_size=6),
    flattery=st.integers(-3_000, 3_000).map(lambda number: number / 8),
)
def test_a_constant_added_to_every_replay_changes_no_row_like_for_like(
    trades: list[tuple[float, float, float]], flattery: float
) -> None:
    """To the last bit where the sums themselves are exact, as those of sixteenths are."""
    rows = []
    for bias in (0.0, flattery):
        with open_lab() as lab:
            lab.plan(metrics={"edge_bps": (-50.0, 50.0)})
            for number, (live, replay, variant) in enumerate(trades):
                lab.ingest(
                    report(f"c{number}", f"o{number}", number * 60.0, edge_bps=live),
                    replayed_report(f"r{number}", f"o{number}", edge_bps=replay + bias),
                    variant_report(f"v{number}", f"o{number}", edge_bps=variant + bias),
                )
            build(lab)
            rows.append(
                lab.rows("SELECT * FROM series_cells WHERE comparison = 'like_for_like' ORDER BY ALL")
            )
    assert rows[0] == rows[1] != []


def closed_until(lab: Lab) -> Any:
    [(_, found)] = lab.rows(load("et_pipeline.evidence", "closed_until"))
    return (found - START) / timedelta(hours=1)


def test_blocks_wait_for_the_replays_of_the_control_but_not_for_ever(lab: Lab) -> None:
    """A backtester that replays the control at night would else have every day judged without it."""
    lab.plan()
    for hour in (1, 2, 3):
        lab.ingest(report(f"c{hour}", f"o{hour}", 3600.0 * hour), variant_report(f"v{hour}", f"o{hour}"))
    build(lab)
    assert closed_until(lab) == 3, "nothing to wait for"
    lab.ingest(replayed_report("r1", "o1"))
    build(lab)
    assert closed_until(lab) == 1
    lab.ingest(report("c26", "o26", 3600.0 * 26), variant_report("v26", "o26"))
    build(lab)
    assert closed_until(lab) == 2, "a day later it is waited for no longer"
    lab.ingest(replayed_report("r26", "o26"))
    build(lab)
    assert closed_until(lab) == 26


def test_replays_from_before_the_window_are_not_waited_for(lab: Lab) -> None:
    """They are of another experiment, in which the control was the variant."""
    lab.plan()
    lab.ingest(report("c0", "o0", -60.0), replayed_report("r0", "o0"))
    lab.ingest(report("c1", "o1", 7200.0), variant_report("v1", "o1"))
    build(lab)
    assert closed_until(lab) == 2
