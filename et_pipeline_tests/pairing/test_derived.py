"""Cells of metrics that a plan derives: weighted by size, and shares of trades beyond a limit."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, replayed_report, report, variant_report

BY_SIZE, ABOVE, BELOW = "edge_bps.by.filled_size", "latency_ms.above.500", "edge_bps.below.-0.5"
PASS = {"decision": "passed", **dict.fromkeys(REPORT_METRICS)}
TOTALS = "numerator_control, denominator_control, numerator_variant, denominator_variant"


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])


def totals(lab: Lab, metric: str, comparison: str = "uplift") -> tuple[Any, ...]:
    (row,) = lab.rows(
        f"SELECT n, {TOTALS} FROM series_cells WHERE metric = '{metric}' AND comparison = '{comparison}'"
    )
    return row


def test_cells_by_size_and_of_shares_are_what_the_trades_give(lab: Lab) -> None:
    lab.plan(metrics={BY_SIZE: None, ABOVE: None, BELOW: None})
    draw = random.Random(3)
    weighed: dict[Any, list[float]] = defaultdict(lambda: [0.0] * 5)
    slow: dict[Any, list[float]] = defaultdict(lambda: [0.0] * 3)
    low: dict[Any, list[float]] = defaultdict(lambda: [0.0] * 3)
    reports = []
    for i in range(120):
        market, hour = f"m{draw.randrange(3)}", draw.randrange(2)
        arms = []
        for name, make in (("c", report), ("v", variant_report)):
            size = draw.choice([0.0, draw.paretovariate(1.5)])
            values = {"edge_bps": draw.gauss(0, 1), "filled_size": size, "latency_ms": draw.uniform(1, 1000)}
            arms.append(values)
            reports.append(make(f"{name}{i}", f"o{i}", hour * 3600 + i, market_id=market, **values))
        control, variant = arms
        place = START + timedelta(hours=hour), market
        for position, arm in ((1, control), (3, variant)):
            weighed[place][position] += arm["edge_bps"] * arm["filled_size"]
            weighed[place][position + 1] += arm["filled_size"]
        weighed[place][0] += 1
        late = (control["latency_ms"] > 500) - (variant["latency_ms"] > 500)
        poor = (control["edge_bps"] < -0.5) - (variant["edge_bps"] < -0.5)
        for found, uplift in ((slow, late), (low, poor)):
            found[place] = [a + b for a, b in zip(found[place], (1, uplift, uplift > 0), strict=True)]
    lab.ingest(*reports)
    tick(lab)
    for metric, columns, expected in (
        (BY_SIZE, f"n, {TOTALS}", weighed),
        (ABOVE, "n, sum, wins", slow),
        (BELOW, "n, sum, wins", low),
    ):
        rows = lab.rows(f"SELECT block, market_id, {columns} FROM cells WHERE metric = '{metric}'")
        assert {row[:2] for row in rows} == set(expected)
        for row in rows:
            assert row[2:] == pytest.approx(expected[row[:2]], abs=1e-7)


def test_a_pass_has_weight_zero_and_a_missing_weight_is_missing(lab: Lab) -> None:
    lab.plan(metrics={BY_SIZE: None, "slippage_bps.by.filled_size": None}, on_no_trade="zero")
    sizes = {"slippage_bps": 1.0}
    lab.ingest(
        report("c1", "o1", edge_bps=4.0, filled_size=10.0, **sizes),
        variant_report("v1", "o1", **PASS),
        report("c2", "o2", edge_bps=1.0, filled_size=30.0, **sizes),
        variant_report("v2", "o2", edge_bps=3.0, filled_size=5.0, **sizes),
        report("c3", "o3", edge_bps=1.0, filled_size=30.0, **sizes),
        variant_report("v3", "o3", edge_bps=3.0, **sizes),
        report("c4", "o4", edge_bps=None, filled_size=0.0),
        variant_report("v4", "o4", edge_bps=2.0, filled_size=1.0, **sizes),
    )
    tick(lab)
    assert totals(lab, BY_SIZE) == (3, 4.0 * 10 + 1.0 * 30, 40.0, 3.0 * 5 + 2.0 * 1, 6.0)
    # What has no value for a pass is compared where both traded; of size 0 there is nothing to compare.
    assert totals(lab, "slippage_bps.by.filled_size") == (2, 30.0, 30.0, 6.0, 6.0)
    assert lab.rows("SELECT metric, pairs, control, variant FROM missing_values ORDER BY ALL") == [
        (BY_SIZE, 1, 0, 1),
        ("slippage_bps.by.filled_size", 1, 0, 1),
    ]


def test_a_replayed_control_that_passed_has_weight_zero_too(lab: Lab) -> None:
    lab.plan(metrics={BY_SIZE: None, ABOVE: None}, on_no_trade="zero")
    values = {"filled_size": 10.0, "latency_ms": 600.0}
    lab.ingest(
        report("c1", "o1", edge_bps=4.0, **values),
        variant_report("v1", "o1", edge_bps=5.0, **values | {"latency_ms": 400.0}),
        replayed_report("r1", "o1", **PASS),
        report("c2", "o2", edge_bps=1.0, **values),
        variant_report("v2", "o2", edge_bps=3.0, **values),
        replayed_report("r2", "o2", edge_bps=2.0, **values),
    )
    tick(lab)
    assert totals(lab, BY_SIZE, "replay_gap") == (2, 50.0, 20.0, 20.0, 10.0)
    assert totals(lab, BY_SIZE, "like_for_like") == (2, 20.0, 10.0, 80.0, 20.0)
    assert lab.rows(
        f"SELECT comparison, n, sum FROM series_cells WHERE metric = '{ABOVE}' ORDER BY comparison"
    ) == [("like_for_like", 1, 0.0), ("replay_gap", 1, 0.0), ("uplift", 2, 1.0)]


def test_all_trades_of_both_arms_are_totalled_by_size(lab: Lab) -> None:
    lab.plan(
        metrics={BY_SIZE: None, ABOVE: None, "edge_bps": None},
        matching="arms",
        mode="limited_live",
        tolerance_us=1_000_000,
    )
    lab.ingest(
        report("c1", "o1", edge_bps=4.0, filled_size=10.0, latency_ms=600.0),
        report("c2", "o2", edge_bps=1.0, filled_size=0.0, latency_ms=400.0),
        report("c3", "o3", edge_bps=1.0, latency_ms=None),
        report("v1", "o4", strategy_id="v", edge_bps=2.0, filled_size=3.0, latency_ms=501.0),
    )
    tick(lab)
    assert totals(lab, BY_SIZE) == (3, 40.0, 10.0, 6.0, 3.0)
    assert totals(lab, ABOVE) == (3, 1.0, 2.0, 1.0, 1.0)
    assert totals(lab, "edge_bps") == (4, 6.0, 3.0, 2.0, 1.0)
    assert lab.rows("SELECT metric, pairs, control, variant FROM missing_values ORDER BY ALL") == [
        (BY_SIZE, 1, 1, 0),
        (ABOVE, 1, 1, 0),
    ]


@pytest.mark.parametrize("matching", ["correlation", "arms"])
def test_values_are_held_within_limits_before_they_are_counted_by_size(lab: Lab, matching: str) -> None:
    arms = matching == "arms"
    live = {"mode": "limited_live", "tolerance_us": 1_000_000} if arms else {}
    lab.plan(metrics={BY_SIZE: (-2.0, 3.0), "edge_bps": None}, matching=matching, **live)
    variant = report if arms else variant_report
    lab.ingest(
        report("c1", "o1", edge_bps=4.0, filled_size=10.0),
        report("c2", "o2", edge_bps=1.0, filled_size=30.0),
        report("c3", "o3", edge_bps=-9.0, filled_size=0.0),
        variant("v1", "o1", strategy_id="v", edge_bps=-5.0, filled_size=2.0),
        variant("v2", "o2", strategy_id="v", edge_bps=2.5, filled_size=4.0),
        variant("v3", "o3", strategy_id="v", edge_bps=7.0, filled_size=1.0),
        *([] if arms else [replayed_report("r1", "o1", edge_bps=5.0, filled_size=20.0)]),
    )
    tick(lab)
    held = (3.0 * 10 + 1.0 * 30, 40.0, -2.0 * 2 + 2.5 * 4 + 3.0 * 1, 7.0)
    assert totals(lab, BY_SIZE) == (6 if arms else 3, *held)
    # The control's first trade, the variant's first and last; what has no size counts for nothing.
    query = f"SELECT winsorised FROM series_cells WHERE metric = '{BY_SIZE}' AND comparison = "
    assert lab.rows(f"{query} 'uplift'") == [(3,)]
    if not arms:
        assert totals(lab, BY_SIZE, "replay_gap") == (1, 30.0, 10.0, 60.0, 20.0)
        assert totals(lab, BY_SIZE, "like_for_like") == (1, 60.0, 20.0, -4.0, 2.0)
        # Each pair's own values, held as well: -2 - 3, 2.5 - 1, and 3 against an arm that traded nothing.
        assert lab.rows(f"SELECT sum, wins FROM cells WHERE metric = '{BY_SIZE}'") == [
            (pytest.approx(-5.0 + 1.5 + 3.0), 2)
        ]
    # The limits are those of the metric that names them.
    assert lab.rows("SELECT winsorised FROM cells WHERE metric = 'edge_bps'") == [(0,)]


def test_cells_are_the_same_in_any_order_and_number_of_ticks(lab: Lab) -> None:
    draw = random.Random(5)
    reports = []
    for i in range(40):
        size = {"filled_size": draw.paretovariate(1.5), "latency_ms": draw.uniform(1, 1000)}
        reports += [
            report(f"c{i}", f"o{i}", i * 60, edge_bps=draw.gauss(0, 5), **size),
            variant_report(f"v{i}", f"o{i}", i * 60, edge_bps=draw.gauss(0, 5), **size),
        ]
    lab.plan(metrics={BY_SIZE: None, ABOVE: None})
    lab.ingest(*reports)
    tick(lab)
    at_once = lab.state()
    draw.shuffle(reports)
    lab.connection.execute("DELETE FROM reports; DELETE FROM pairs; DELETE FROM series_cells")
    lab.connection.execute("DELETE FROM pairing_progress; DELETE FROM unmatched; DELETE FROM missing_values")
    for part in range(0, len(reports), 13):
        lab.ingest(*reports[part : part + 13])
        tick(lab)
    assert lab.state() == at_once
