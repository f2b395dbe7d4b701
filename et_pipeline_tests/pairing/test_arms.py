"""All trades of both arms: which of them count, and that their totals are exact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, report, variant_report

ARMS = {"mode": "limited_live", "matching": "arms", "tolerance_us": 60_000_000}
TOTALS = (
    "n_control, n_variant, numerator_control, denominator_control, numerator_variant, denominator_variant"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab() as found:
        yield found


def control(name: str, minute: float, **changes: Any) -> dict[str, Any]:
    return report(name, name, 60 * minute, **changes)


def variant(name: str, minute: float, **changes: Any) -> dict[str, Any]:
    return variant_report(name, name, 60 * minute, mode="live", **changes)


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])


def cells(lab: Lab, metric: str = "edge_bps") -> list[tuple[Any, ...]]:
    return lab.rows(
        f"SELECT market_id, hour(block), {TOTALS} FROM cells WHERE metric = '{metric}' ORDER BY ALL"
    )


def test_every_trade_counts_in_the_cell_of_its_own_time_whether_it_has_a_partner_or_not(lab: Lab) -> None:
    lab.plan(**ARMS)
    lab.ingest(
        control("a", 1, edge_bps=1.5),
        control("b", 2, edge_bps=2.5),
        control("c", 59.9, edge_bps=4.0),
        variant("v", 60.1, edge_bps=7.0),
        variant("w", 30, edge_bps=-1.0, market_id="m2"),
    )
    tick(lab)
    assert lab.rows("SELECT control_report_id, variant_report_id FROM pairs") == [("c", "v")]
    assert cells(lab) == [
        ("m1", 0, 3, 0, 8.0, 3.0, 0.0, 0.0),
        ("m1", 1, 0, 1, 0.0, 0.0, 7.0, 1.0),
        ("m2", 0, 0, 1, 0.0, 0.0, -1.0, 1.0),
    ]
    assert lab.rows("SELECT n, sum, m2, wins FROM cells LIMIT 1") == [(3, None, None, None)]


def test_what_is_outside_the_window_replaced_passed_on_or_without_a_value_does_not_count(lab: Lab) -> None:
    lab.plan(**ARMS, starts_at=START + timedelta(minutes=5), metrics={"edge_bps": None, "latency_ms": None})
    lab.ingest(
        control("early", 4.9),
        report("old", "twice", 600, edge_bps=100.0),
        report("new", "twice", 660, edge_bps=3.0, latency_ms=5.0),
        control("passed", 12, decision="passed", edge_bps=None),
        control("unknown", 13, edge_bps=None, latency_ms=7.0),
        variant("unfilled", 14, edge_bps=0.0, fill_ratio=0.0),
    )
    tick(lab)
    assert cells(lab) == [("m1", 0, 1, 1, 3.0, 1.0, 0.0, 1.0)]
    assert cells(lab, "latency_ms") == [("m1", 0, 2, 0, 12.0, 2.0, 0.0, 0.0)]
    gaps = lab.rows("SELECT metric, pairs, control, variant FROM missing_values ORDER BY ALL")
    assert gaps == [("edge_bps", 1, 1, 0)]


def test_limits_hold_each_trades_value(lab: Lab) -> None:
    lab.plan(**ARMS, metrics={"edge_bps": (-10.0, 10.0)})
    lab.ingest(control("a", 1, edge_bps=-70.0), control("b", 2, edge_bps=3.0), variant("v", 3, edge_bps=70.0))
    tick(lab)
    assert cells(lab) == [("m1", 0, 2, 1, -7.0, 2.0, 10.0, 1.0)]
    assert lab.rows("SELECT winsorised FROM cells") == [(2,)]


def test_a_ratio_metric_sums_its_parts(lab: Lab) -> None:
    lab.plan(**ARMS, metrics={"size_fill_ratio": None})
    lab.ingest(
        control("a", 1, filled_size=2.0, asked_size=4.0),
        control("b", 2, filled_size=1.0, asked_size=8.0),
        control("nothing asked", 3, filled_size=0.0, asked_size=0.0),
        variant("v", 3, filled_size=5.0, asked_size=5.0),
    )
    tick(lab)
    assert cells(lab, "size_fill_ratio") == [("m1", 0, 2, 1, 3.0, 12.0, 5.0, 5.0)]
    assert lab.rows("SELECT pairs, control, variant FROM missing_values") == [(1, 1, 0)]


def test_a_report_that_is_replaced_or_taken_out_later_leaves_its_cell(lab: Lab) -> None:
    lab.plan(**ARMS)
    first = report("first", "o", 60, edge_bps=5.0)
    lab.ingest(first, control("stays", 3, edge_bps=1.0))
    tick(lab)
    assert cells(lab) == [("m1", 0, 2, 0, 6.0, 2.0, 0.0, 0.0)]
    again = report("again", "o", 3700, edge_bps=9.0)
    lab.ingest(again)
    tick(lab)
    assert cells(lab) == [("m1", 0, 1, 0, 1.0, 1.0, 0.0, 0.0), ("m1", 1, 1, 0, 9.0, 1.0, 0.0, 0.0)]
    lab.ingest(displaced=[again])
    tick(lab)
    assert cells(lab) == [("m1", 0, 2, 0, 6.0, 2.0, 0.0, 0.0)]
    lab.ingest(displaced=[first])
    tick(lab)
    assert cells(lab) == [("m1", 0, 1, 0, 1.0, 1.0, 0.0, 0.0)]


def test_only_cells_that_got_something_are_computed_again(lab: Lab) -> None:
    lab.plan(**ARMS)
    lab.ingest(*(control(f"c{hour}", 60 * hour) for hour in range(20)))
    tick(lab)
    lab.ingest(control("late", 60 * 7 + 5))
    build_pairs(lab.connection, ["exp"])
    found = build_cells(lab.connection, ["exp"])
    assert (found.stale, found.cells, found.blocks) == (1, 1, 1)


def test_the_controls_trades_from_before_have_cells_of_their_own(lab: Lab) -> None:
    """As long before as the experiment lasts; of an opportunity the last report counts, and passes do not."""
    lab.plan(**ARMS, starts_at=START, ends_at=START + timedelta(hours=5))
    lab.ingest(
        control("long ago", -301, edge_bps=9.0),
        control("a", -300, edge_bps=1.0),
        report("old", "twice", -600, edge_bps=100.0),
        report("new", "twice", -540, edge_bps=3.0),
        control("passed", -20, decision="passed", edge_bps=None),
        variant("v", -10, edge_bps=50.0),
        control("inside", 10, edge_bps=2.0),
    )
    tick(lab)
    query = f"SELECT hour(block), {TOTALS} FROM series_cells WHERE comparison = 'before' ORDER BY ALL"
    assert lab.rows(query) == [(19, 1, 0, 1.0, 1.0, 0.0, 0.0), (23, 1, 0, 3.0, 1.0, 0.0, 0.0)]
    assert cells(lab) == [("m1", 0, 1, 0, 2.0, 1.0, 0.0, 0.0)]
    lab.ingest(displaced=[report("new", "twice", -540, edge_bps=3.0)])
    tick(lab)
    assert lab.rows(query)[1] == (23, 1, 0, 100.0, 1.0, 0.0, 0.0)
