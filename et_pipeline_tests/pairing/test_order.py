"""The tables are the same to the last bit for any order, ticks, duplicates and conflicts."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, replayed_report, report, variant_report

METRICS = {
    "edge_bps": (-50.0, 50.0),
    "slippage_bps": None,
    "size_fill_ratio": None,
    "edge_bps.by.filled_size": (-40.0, 40.0),
    "slippage_bps.above.0": None,
}
EXPERIMENTS = ("exclude", "zero", "assumed", "live", "nearest", "arms")


def plan_all(lab: Lab) -> None:
    window = {"starts_at": START + timedelta(minutes=2), "ends_at": START + timedelta(minutes=50)}
    common = {"metrics": METRICS, "time_block_us": 600_000_000, **window}
    lab.plan("exclude", **common)
    lab.plan("zero", on_no_trade="zero", variant_strategy_id="w", **common)
    lab.plan("assumed", on_no_trade="assume_zero", **common)
    lab.plan("live", mode="limited_live", control_config_version="1", **common)
    lab.plan("nearest", mode="limited_live", matching="nearest", tolerance_us=90_000_000, **common)
    lab.plan("arms", mode="limited_live", matching="arms", tolerance_us=90_000_000, **common)


values = st.one_of(
    st.none(), st.floats(-1e3, 1e3, allow_subnormal=False), st.sampled_from([0.1, 0.2, 0.3, 1e4, -1e4])
)
sizes = st.one_of(st.none(), st.floats(0, 1e6, allow_subnormal=False))


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Reports of few opportunities, so that most pair, supersede each other, or lie at the window's ends."""
    items = []
    for number in range(draw(st.integers(2, 30))):
        make = draw(st.sampled_from([report, variant_report, replayed_report]))
        changes: dict[str, Any] = {
            "market_id": draw(st.sampled_from(["m1", "m2"])),
            "config_version": draw(st.sampled_from(["1", "2"])),
            "edge_bps": draw(values),
            "slippage_bps": draw(values),
            "filled_size": draw(sizes),
            "asked_size": draw(sizes),
            "emitted_below_us": draw(st.sampled_from([0, 1, 999_999])),
        }
        if make is variant_report:
            changes |= {
                "strategy_id": draw(st.sampled_from("vw")),
                "mode": draw(st.sampled_from(["live", "replay"])),
            }
        if draw(st.integers(0, 3)) == 0:
            changes |= {"decision": "passed", **dict.fromkeys(REPORT_METRICS)}
        opportunity = f"o{draw(st.integers(0, 6))}"
        minute = draw(st.one_of(st.integers(0, 55), st.sampled_from([10, 40])))
        items.append(make(f"r{number:02}", opportunity, minute * 60.0, **changes))
    return items


@pytest.mark.parametrize("examples", [3, pytest.param(40, marks=pytest.mark.faults)])
def test_any_order_and_any_ticks_give_the_same_tables(examples: int) -> None:
    settings(max_examples=examples, deadline=None)(given(histories(), st.data())(assert_same_tables))()


def assert_same_tables(history: list[dict[str, Any]], data: st.DataObject) -> None:
    """What came in any order and was paired in any number of ticks, against all of it at once."""
    taken_out = data.draw(st.sets(st.sampled_from(range(len(history))), max_size=3), label="taken out")
    left = [item for number, item in enumerate(history) if number not in taken_out]
    with open_lab() as lab:
        plan_all(lab)
        lab.ingest(*left)
        build_pairs(lab.connection, EXPERIMENTS)
        build_cells(lab.connection, EXPERIMENTS)
        expected = lab.state()
        assert_balanced(lab)
    order = data.draw(st.permutations(history), label="order")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4), label="ticks"))
    conflicts = [history[number] for number in taken_out]
    with open_lab() as lab:
        plan_all(lab)
        for start, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
            lab.ingest(*order[start:end])
            tick(lab, data)
        for conflict in conflicts:
            lab.ingest(displaced=[conflict])
            tick(lab, data)
        build_pairs(lab.connection, EXPERIMENTS)
        build_cells(lab.connection, EXPERIMENTS)
        assert lab.state() == expected
        build_pairs(lab.connection, EXPERIMENTS, full=True)
        build_cells(lab.connection, EXPERIMENTS)
        assert lab.state() == expected


def assert_balanced(lab: Lab) -> None:
    """Every report of an arm is in a pair or has a reason why not, and in one place only."""
    for name, *found in lab.rows(
        """SELECT e.experiment_id,
            (SELECT count(*) FROM reports AS r WHERE r.strategy_id = e.control_strategy_id AND r.mode = 'live'
                AND (e.control_config_version IS NULL OR e.control_config_version = r.config_version)),
            (SELECT count(*) FROM reports AS r WHERE r.strategy_id = e.variant_strategy_id
                AND r.mode = CASE WHEN e.mode = 'shadow' THEN 'replay' ELSE 'live' END),
            (SELECT count(*) FROM reports AS r WHERE r.strategy_id = e.control_strategy_id AND e.mode = 'shadow'
                AND r.mode = 'replay')
        FROM experiments AS e"""
    ):
        own = f"experiment_id = '{name}'"
        for arm, reports in zip(("control", "variant", "replay"), found, strict=True):
            used = lab.rows(
                f"SELECT {arm}_report_id FROM pairs WHERE {own} AND {arm}_report_id IS NOT NULL "
                f"UNION ALL SELECT report_id FROM unmatched WHERE {own} AND arm = '{arm}'"
            )
            assert len(used) == len(set(used)) == reports, (name, arm)


def tick(lab: Lab, data: st.DataObject) -> None:
    """Some experiments are brought up to date, as a tick would that is cut short anywhere."""
    some = data.draw(st.lists(st.sampled_from(EXPERIMENTS), unique=True), label="tick of")
    build_pairs(lab.connection, some)
    if data.draw(st.booleans(), label="reaches the cells"):
        build_cells(lab.connection, some)


def test_a_large_cell_does_not_depend_on_threads_or_order() -> None:
    """Doubles would: the same numbers added in another order differ in their last bits."""
    totals = set()
    for turned, threads in ((False, 1), (False, 2), (True, 2)):
        with open_lab() as lab:
            lab.plan()
            lab.connection.execute(f"SET threads = {threads}")
            lab.connection.execute(
                f"""
                INSERT INTO reports BY NAME
                SELECT
                    arm || i AS report_id, '1.0' AS schema_version, 'b' AS bot_id, arm AS strategy_id,
                    '1' AS config_version, CASE WHEN arm = 'v' THEN 'replay' ELSE 'live' END AS mode,
                    'o' || i AS correlation_id, 'm1' AS market_id, 'yes' AS outcome_id, 'BUY' AS side,
                    TIMESTAMP '2026-11-01 00:10:00' AS emitted_at, sin(i) * 1000 + (arm = 'v')::INTEGER * cos(i)
                    AS edge_bps, hash(arm, i) AS report_key, hash(i) AS opportunity_key, 0 AS content_hash,
                    1 AS snapshot_id, i AS line, 1 AS batch
                FROM range(100000) AS t(i) CROSS JOIN (VALUES ('c'), ('v')) AS a(arm)
                ORDER BY {"-i" if turned else "i"}
                """
            )
            build_pairs(lab.connection, ["exp"])
            build_cells(lab.connection, ["exp"])
            (row,) = lab.rows("SELECT n, sum, sum_squares, m2, wins FROM cells")
            uplifts = [value for (value,) in lab.rows("SELECT edge_bps_uplift FROM pairs")]
            assert row[1] == pytest.approx(math.fsum(uplifts), abs=1e-9)
            totals.add(row)
    assert len(totals) == 1
