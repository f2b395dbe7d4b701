from __future__ import annotations

import math
import random
from datetime import timedelta
from fractions import Fraction

import pytest

from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.pairing.cells import build_cells, decimal_type
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, report, variant_report


def tick(lab: Lab, *experiments: str) -> None:
    build_pairs(lab.connection, experiments or ["exp"])
    build_cells(lab.connection, experiments or ["exp"])


def test_a_cell_is_the_exact_statistics_of_its_pairs(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "slippage_bps": (-4.0, 4.0)})
    draw = random.Random(1)
    uplifts = []
    for i in range(50):
        control, variant = draw.gauss(1e3, 1), draw.gauss(1e3, 1)
        uplifts.append(variant - control)
        lab.ingest(
            report(f"c{i}", f"o{i}", i, edge_bps=control, slippage_bps=float(i % 7)),
            variant_report(f"v{i}", f"o{i}", edge_bps=variant, slippage_bps=-float(i % 6)),
        )
    tick(lab)
    (edge,) = lab.rows("SELECT block, market_id, n, sum, sum_squares, m2, wins, winsorised FROM cells "
                       "WHERE metric = 'edge_bps'")  # fmt: skip
    exact = [Fraction(uplift) for uplift in uplifts]
    mean = sum(exact) / 50
    assert edge[:3] == (START, "m1", 50)
    assert edge[3] == pytest.approx(float(sum(exact)), rel=1e-15)
    assert edge[4] == pytest.approx(float(sum(u * u for u in exact)), rel=1e-15)
    assert edge[5] == pytest.approx(float(sum((u - mean) ** 2 for u in exact)), rel=1e-14)
    assert edge[6:] == (sum(u > 0 for u in uplifts), 0)
    beyond = sum((i % 7 > 4) + (i % 6 > 4) for i in range(50))
    assert lab.rows("SELECT winsorised FROM cells WHERE metric = 'slippage_bps'") == [(beyond,)]


def test_m2_does_not_cancel_where_uplifts_are_large_and_close(lab: Lab) -> None:
    lab.plan(metrics={"latency_ms": None})
    spread = [0.0, 1e-3, 2e-3, 3e-3]
    for i, extra in enumerate(spread):
        lab.ingest(
            report(f"c{i}", f"o{i}", latency_ms=8e7 + extra), variant_report(f"v{i}", f"o{i}", latency_ms=1.0)
        )
    tick(lab)
    assert lab.rows("SELECT m2 FROM cells")[0][0] == pytest.approx(5e-6, rel=1e-4)


def test_a_metric_missing_in_an_arm_is_not_counted(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "latency_ms": None})
    lab.ingest(
        report("c1", "o1", latency_ms=5.0),
        variant_report("v1", "o1", latency_ms=3.0),
        report("c2", "o2"),
        variant_report("v2", "o2", latency_ms=3.0),
    )
    tick(lab)
    assert lab.rows("SELECT metric, n, sum FROM cells ORDER BY ALL") == [
        ("edge_bps", 2, 0.0),
        ("latency_ms", 1, 2.0),
    ]


GAPS = "SELECT metric, block, market_id, pairs, control, variant FROM missing_values ORDER BY ALL"


def test_pairs_without_a_value_are_counted_by_arm_block_and_market(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "latency_ms": None, "size_fill_ratio": None})
    sizes = {"filled_size": 1.0, "asked_size": 2.0}
    lab.ingest(
        report("c1", "o1", 10, latency_ms=5.0, **sizes),
        variant_report("v1", "o1", latency_ms=3.0, **sizes),
        report("c2", "o2", 20, **sizes),
        variant_report("v2", "o2", latency_ms=3.0, filled_size=1.0),
        report("c3", "o3", 30, filled_size=0.0, asked_size=0.0),
        variant_report("v3", "o3", edge_bps=None),
        report("c4", "o4", 3700, edge_bps=None, market_id="m2", latency_ms=1.0, **sizes),
        variant_report("v4", "o4", edge_bps=None, market_id="m2", latency_ms=1.0, **sizes),
    )
    tick(lab)
    later = START + timedelta(hours=1)
    assert lab.rows(GAPS) == [
        ("edge_bps", START, "m1", 1, 0, 1),
        ("edge_bps", later, "m2", 1, 1, 1),
        ("latency_ms", START, "m1", 2, 2, 1),
        ("size_fill_ratio", START, "m1", 2, 1, 2),
    ]
    counted = "SELECT metric, sum(n)::INTEGER FROM cells GROUP BY metric ORDER BY metric"
    assert lab.rows(counted) == [("edge_bps", 2), ("latency_ms", 2), ("size_fill_ratio", 2)]


def test_a_value_that_comes_later_is_missing_no_longer(lab: Lab) -> None:
    lab.plan()
    first = variant_report("v1", "o1", 10, edge_bps=None)
    lab.ingest(report("c1", "o1"), first)
    tick(lab)
    assert lab.rows(GAPS) == [("edge_bps", START, "m1", 1, 0, 1)]
    lab.ingest(variant_report("v2", "o1", 20, edge_bps=2.0))
    tick(lab)
    assert lab.rows(GAPS) == []


def test_an_arm_that_passed_on_an_opportunity_misses_nothing(lab: Lab) -> None:
    """It has no slippage to report; the other arm's edge is wanted all the same."""
    lab.plan(metrics={"edge_bps": None, "slippage_bps": None}, on_no_trade="zero")
    passed = {"decision": "passed", "edge_bps": None}
    lab.ingest(
        report("c1", "o1", slippage_bps=1.0),
        variant_report("v1", "o1", **passed),
        report("c2", "o2", edge_bps=None, slippage_bps=1.0),
        variant_report("v2", "o2", **passed),
        report("c3", "o3", **passed),
        variant_report("v3", "o3", edge_bps=None, slippage_bps=1.0),
    )
    tick(lab)
    assert lab.rows("SELECT correlation_id, passed FROM pairs ORDER BY ALL") == [
        ("o1", "variant"),
        ("o2", "variant"),
        ("o3", "control"),
    ]
    assert lab.rows(GAPS) == [("edge_bps", START, "m1", 2, 1, 1)]


def test_a_missing_replay_that_counts_as_zero_misses_nothing(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "slippage_bps": None}, on_no_trade="assume_zero")
    lab.ingest(
        report("c1", "o1", slippage_bps=1.0),
        report("c2", "o2", 7200, slippage_bps=1.0),
        variant_report("v2", "o2", 7200, slippage_bps=1.0),
        report("c3", "o3", 14400),
        variant_report("v3", "o3", 14400),
    )
    tick(lab)
    assert lab.rows("SELECT count(*) FROM pairs WHERE variant_report_id IS NULL") == [(1,)]
    assert lab.rows(GAPS) == [("slippage_bps", START + timedelta(hours=4), "m1", 1, 1, 1)]


def test_what_was_not_filled_has_no_slippage_to_miss(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "slippage_bps": None, "filled_size": None})
    fills = [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (None, None)]
    for i, (control, variant) in enumerate(fills):
        lab.ingest(
            report(f"c{i}", f"o{i}", fill_ratio=control), variant_report(f"v{i}", f"o{i}", fill_ratio=variant)
        )
    tick(lab)
    assert lab.rows(GAPS) == [
        ("filled_size", START, "m1", 4, 4, 4),
        ("slippage_bps", START, "m1", 2, 2, 2),
    ]


def test_a_ratio_keeps_the_totals_of_both_arms(lab: Lab) -> None:
    lab.plan(metrics={"edge_bps": None, "size_fill_ratio": None})
    sizes = [(1.0, 10.0, 5.0, 10.0), (30.0, 60.0, 10.0, 40.0), (3.0, None, 1.0, 4.0), (0.0, 0.0, 1.0, 2.0)]
    for i, (c_filled, c_asked, v_filled, v_asked) in enumerate(sizes):
        lab.ingest(
            report(f"c{i}", f"o{i}", filled_size=c_filled, asked_size=c_asked),
            variant_report(f"v{i}", f"o{i}", filled_size=v_filled, asked_size=v_asked),
        )
    tick(lab)
    assert lab.rows(
        "SELECT n, numerator_control, denominator_control, numerator_variant, denominator_variant, wins, sum "
        "FROM cells WHERE metric = 'size_fill_ratio'"
    ) == [(2, 31.0, 70.0, 15.0, 50.0, 1, pytest.approx(0.4 - 0.25, abs=1e-15))]


def test_only_stale_cells_are_computed_again_and_empty_ones_go(lab: Lab) -> None:
    lab.plan()
    lab.ingest(*(report(f"c{i}", f"o{i}", i * 3600) for i in range(4)))
    variants = [variant_report(f"v{i}", f"o{i}", edge_bps=2.0) for i in range(4)]
    lab.ingest(*variants)
    tick(lab)
    assert lab.rows("SELECT * FROM stale_cells") == []
    lab.connection.execute("DELETE FROM stale_paths")
    lab.connection.execute("UPDATE series_cells SET wins = -1")
    lab.ingest(variant_report("v1b", "o1", 5, edge_bps=9.0), displaced=[variants[2]])
    build_pairs(lab.connection, ["exp"])
    result = build_cells(lab.connection, ["exp"])
    assert (result.stale, result.cells, result.blocks) == (2, 1, 2)
    hours = [(START + timedelta(hours=i),) for i in (1, 2)]
    assert lab.rows("SELECT block FROM stale_paths ORDER BY ALL") == hours
    assert lab.rows("SELECT block, n, sum, wins FROM cells ORDER BY ALL") == [
        (START, 1, 1.0, -1),
        (START + timedelta(hours=1), 1, 8.0, 1),
        (START + timedelta(hours=3), 1, 1.0, -1),
    ]
    assert build_cells(lab.connection, ["exp"]) == (0, 0, 0)


def test_experiments_left_out_stay_stale(lab: Lab) -> None:
    lab.plan("a")
    lab.plan("b")
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"))
    build_pairs(lab.connection, ["a", "b"])
    build_cells(lab.connection, ["a"])
    assert lab.rows("SELECT DISTINCT experiment_id FROM stale_cells") == [("b",)]
    assert lab.rows("SELECT DISTINCT experiment_id FROM cells") == [("a",)]


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_the_largest_uplifts_fit_the_decimal(lab: Lab, metric: object) -> None:
    largest = metric.uplift_range  # type: ignore[attr-defined]
    kind = decimal_type(metric)  # type: ignore[arg-type]
    ((total,),) = lab.rows(f"SELECT CAST(sum(CAST(x * x AS {kind})) AS DOUBLE) FROM "
                           f"(SELECT {largest}::DOUBLE AS x FROM range(10000)) t")  # fmt: skip
    assert math.isclose(total, 1e4 * largest**2, rel_tol=1e-12)
