from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, report, variant_report

PAIRS = "SELECT correlation_id, control_report_id, variant_report_id FROM pairs ORDER BY ALL"
UNMATCHED = "SELECT arm, reason, report_id FROM unmatched ORDER BY ALL"


def test_a_pair_has_the_controls_time_and_block_and_an_oriented_uplift(lab: Lab) -> None:
    lab.plan()
    lab.ingest(
        report("c1", "o1", 3_661.5, edge_bps=2.0, slippage_bps=3.0, latency_ms=10.0),
        variant_report("v1", "o1", 90_000, edge_bps=5.0, slippage_bps=1.0, toxicity_bps=4.0),
    )
    result = build_pairs(lab.connection, ["exp"])
    assert (result.pairs, result.unmatched, result.rebuilt) == (1, 0, ("exp",))
    assert lab.rows(
        "SELECT pair_time, block, control_report_id, variant_report_id, edge_bps_control, edge_bps_variant, "
        "edge_bps_uplift, slippage_bps_uplift, latency_ms_control, latency_ms_variant, latency_ms_uplift, "
        "toxicity_bps_uplift, candidates FROM pairs"
    ) == [
        (
            *(START + timedelta(seconds=3661.5), START + timedelta(hours=1), "c1", "v1"),
            *(2.0, 5.0, 3.0, 2.0, 10.0, None, None, None, 1),
        )
    ]


@pytest.mark.parametrize(
    "other",
    [{"market_id": "m2"}, {"outcome_id": "no"}, {"side": "SELL"}, {"correlation_id": "o2"}],
)
def test_only_the_same_opportunity_pairs(lab: Lab, other: dict[str, str]) -> None:
    lab.plan()
    lab.ingest(report("c1", "o1"), variant_report("v1", **{"correlation_id": "o1", "seconds": 1.0} | other))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == []
    assert lab.rows(UNMATCHED) == [("control", "no_variant", "c1"), ("variant", "no_control", "v1")]


def test_a_key_collision_pairs_nothing_that_differs(lab: Lab) -> None:
    lab.plan()
    lab.ingest(
        report("c1", "o1") | {"opportunity_key": 7},
        variant_report("v2", "o2") | {"opportunity_key": 7},
        report("c3", "o3") | {"opportunity_key": 7},
        variant_report("v3", "o3") | {"opportunity_key": 7},
    )
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o3", "c3", "v3")]
    assert lab.rows(UNMATCHED) == [("control", "no_variant", "c1"), ("variant", "no_control", "v2")]
    lab.ingest(variant_report("v1", "o1") | {"opportunity_key": 7})
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c1", "v1"), ("o3", "c3", "v3")]
    assert lab.rows(UNMATCHED) == [("variant", "no_control", "v2")]


def test_the_last_report_of_an_arm_counts(lab: Lab) -> None:
    lab.plan()
    lab.ingest(
        report("c2", "o1", 5),
        report("c1", "o1", 5),
        report("c9", "o1", 4),
        variant_report("v1", "o1", 9),
        variant_report("v2", "o1", 8),
    )
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c2", "v1")]
    assert lab.rows(UNMATCHED) == [
        ("control", "superseded", "c1"),
        ("control", "superseded", "c9"),
        ("variant", "superseded", "v2"),
    ]


@pytest.mark.parametrize("matching", ["correlation", "nearest"])
def test_of_reports_within_a_microsecond_the_later_one_counts_whatever_its_id(
    lab: Lab, matching: str
) -> None:
    nearest = {"mode": "limited_live", "tolerance_us": 1} if matching == "nearest" else {}
    make = report if matching == "nearest" else variant_report
    lab.plan(matching=matching, **nearest)
    lab.ingest(
        report("c3", "o1", 5),
        report("c2", "o1", 5, emitted_below_us=1),
        report("c1", "o1", 5, emitted_below_us=1),
    )
    variants = [
        make("v2", "o1", 5, strategy_id="v"),
        make("v1", "o1", 5, strategy_id="v", emitted_below_us=999_999),
    ]
    for item in variants:
        lab.ingest(item)
        build_pairs(lab.connection, ["exp"])
        assert lab.rows(PAIRS) == [("o1", "c2", item["report_id"])]
    superseded = [
        ("control", "superseded", "c1"),
        ("control", "superseded", "c3"),
        ("variant", "superseded", "v2"),
    ]
    assert lab.rows(UNMATCHED) == superseded
    lab.ingest(displaced=variants[1:])
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c2", "v2")]


def test_arms_are_told_apart_by_mode_and_config_version(lab: Lab) -> None:
    lab.plan(
        control_config_version="3.2", variant_strategy_id="c", variant_config_version="4.0",
    )  # fmt: skip
    lab.ingest(
        report("c1", "o1", config_version="3.2"),
        report("other-version", "o1", config_version="3.1"),
        report("live-variant", "o1", config_version="4.0"),
        variant_report("v1", "o1", strategy_id="c", config_version="4.0"),
        variant_report("replayed-control", "o1", strategy_id="c", config_version="3.2"),
    )
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c1", "v1")]
    assert lab.rows(UNMATCHED) == []


def test_a_limited_live_variant_is_live(lab: Lab) -> None:
    lab.plan(mode="limited_live")
    lab.ingest(report("c1", "o1"), variant_report("replayed", "o1"), variant_report("v1", "o1", mode="live"))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c1", "v1")]


def test_the_window_holds_for_the_controls_time_and_ends_before_its_end(lab: Lab) -> None:
    lab.plan(ends_at=START + timedelta(hours=1))
    lab.ingest(
        *(report(f"c{at}", f"o{at}", at) for at in (-1, 0, 3600, 3601)),
        *(variant_report(f"v{at}", f"o{at}", 99_999) for at in (-1, 0, 3600, 3601)),
        report("early", "alone-early", -1),
        variant_report("inside", "alone-inside", 3599),
        variant_report("late", "alone-late", 3601),
        variant_report("of-another-time", "o-1", 5),
    )
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o0", "c0", "v0")]
    assert lab.rows(UNMATCHED) == [
        ("control", "after_end", "c3600"),
        ("control", "after_end", "c3601"),
        ("control", "too_early", "c-1"),
        ("control", "too_early", "early"),
        ("variant", "after_end", "late"),
        ("variant", "after_end", "v3600"),
        ("variant", "after_end", "v3601"),
        ("variant", "no_control", "inside"),
        ("variant", "superseded", "of-another-time"),
        ("variant", "too_early", "v-1"),
    ]


def passing(item: dict[str, Any]) -> dict[str, Any]:
    """The report of a strategy that saw the opportunity and did not trade."""
    return item | {"decision": "passed", "edge_bps": None}


FOUR = (
    *(report(f"c{number}", f"o{number}", number, edge_bps=4.0, latency_ms=5.0) for number in range(1, 4)),
    passing(report("c4", "o4", 4)),
    passing(report("c5", "o5", 5)),
    passing(report("c6", "o6", 6)),
    variant_report("v1", "o1", edge_bps=5.0),
    passing(variant_report("v2", "o2")),
    variant_report("v4", "o4", edge_bps=2.0),
    passing(variant_report("v5", "o5")),
)
"""Both trade, the variant passes, nothing came, the control passes, both pass, the control passes alone."""


def test_a_pass_of_one_arm_counts_as_zero_edge_where_the_plan_says_so(lab: Lab) -> None:
    lab.plan(on_no_trade="zero", metrics={"edge_bps": (-3.0, 3.0), "latency_ms": None})
    lab.ingest(*FOUR)
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(
        "SELECT control_report_id, variant_report_id, edge_bps_control, edge_bps_variant, edge_bps_uplift, "
        "latency_ms_variant, latency_ms_uplift, candidates FROM pairs ORDER BY pair_time"
    ) == [
        ("c1", "v1", 4.0, 5.0, 0.0, None, None, 1),
        ("c2", "v2", 4.0, 0.0, -3.0, None, None, 1),
        ("c4", "v4", 0.0, 2.0, 2.0, None, None, 1),
    ]
    assert lab.rows(UNMATCHED) == [
        ("control", "both_passed", "c5"),
        ("control", "not_replayed", "c3"),
        ("control", "passed", "c6"),
        ("variant", "both_passed", "v5"),
    ]


def test_where_passes_are_excluded_they_are_still_told_from_missing_replays(lab: Lab) -> None:
    lab.plan()
    lab.ingest(*FOUR)
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("o1", "c1", "v1")]
    assert lab.rows(UNMATCHED) == [
        ("control", "both_passed", "c5"),
        ("control", "control_passed", "c4"),
        ("control", "no_variant", "c3"),
        ("control", "passed", "c6"),
        ("control", "variant_passed", "c2"),
        ("variant", "both_passed", "v5"),
        ("variant", "control_passed", "v4"),
        ("variant", "variant_passed", "v2"),
    ]


def test_a_trade_that_comes_later_replaces_a_pass(lab: Lab) -> None:
    lab.plan(on_no_trade="zero")
    lab.ingest(report("c1", "o1"), passing(variant_report("v1", "o1", 1)))
    build_pairs(lab.connection, ["exp"])
    lab.ingest(variant_report("v2", "o1", 2, edge_bps=3.0))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows("SELECT variant_report_id, edge_bps_uplift FROM pairs") == [("v2", 2.0)]
    assert lab.rows(UNMATCHED) == [("variant", "superseded", "v1")]


def test_a_missing_replay_is_assumed_to_be_a_pass_once_the_variant_has_moved_past_its_block(lab: Lab) -> None:
    lab.plan(on_no_trade="assume_zero")
    hour = 3600
    lab.ingest(*(report(f"c{number}", f"o{number}", number * hour, edge_bps=4.0) for number in range(5)))
    newest = variant_report("v2", "o2", 99 * hour, edge_bps=4.0)
    seen = []
    for step in ({}, {"reports": [variant_report("v1", "o1", 99 * hour)]}, {"reports": [newest]},
                 {"displaced": [newest]}):  # fmt: skip
        lab.ingest(*step.get("reports", ()), displaced=step.get("displaced", ()))
        build_pairs(lab.connection, ["exp"])
        seen.append(
            (
                [name for (name,) in lab.rows("SELECT control_report_id FROM pairs ORDER BY 1")],
                [name for (name,) in lab.rows("SELECT report_id FROM unmatched ORDER BY 1")],
            )
        )
        assert {reason for (reason,) in lab.rows("SELECT reason FROM unmatched")} == {"not_replayed"}
    assert seen == [
        ([], ["c0", "c1", "c2", "c3", "c4"]),
        (["c0", "c1"], ["c2", "c3", "c4"]),
        (["c0", "c1", "c2"], ["c3", "c4"]),
        (["c0", "c1"], ["c2", "c3", "c4"]),
    ]
    assert lab.rows(
        "SELECT edge_bps_variant, edge_bps_uplift FROM pairs WHERE variant_report_id IS NULL"
    ) == [(0.0, -4.0)]


def test_how_far_an_arm_has_come_is_told_by_the_opportunities_that_it_reported(lab: Lab) -> None:
    lab.plan(ends_at=START + timedelta(hours=2))
    lab.ingest(
        *(report(f"c{at}", f"o{at}", at) for at in (0, 3600, 7200)),
        report("foreign", "elsewhere", 90_000, strategy_id="another"),
        variant_report("v0", "o0", 99_999),
        variant_report("alone", "no-such-opportunity", 88_888),
    )
    build_pairs(lab.connection, ["exp"])
    progress = "SELECT control_until, variant_until FROM arm_progress"
    assert lab.rows(progress) == [(START + timedelta(hours=2), START)]
    lab.ingest(variant_report("v7200", "o7200", 99_999))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(progress) == [(START + timedelta(hours=2), START + timedelta(hours=2))]


def test_winsor_limits_hold_for_each_arm_and_for_the_uplift_only(lab: Lab) -> None:
    lab.plan(metrics={"slippage_bps": (-2.0, 2.0)})
    lab.ingest(
        report("c1", "o1", slippage_bps=5.0, toxicity_bps=9.0),
        variant_report("v1", "o1", slippage_bps=-7.0, toxicity_bps=1.0),
    )
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(
        "SELECT slippage_bps_control, slippage_bps_variant, slippage_bps_uplift, toxicity_bps_uplift "
        "FROM pairs"
    ) == [(5.0, -7.0, 4.0, 8.0)]


def test_experiments_share_a_control(lab: Lab) -> None:
    lab.plan("a")
    lab.plan("b", variant_strategy_id="w")
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"), variant_report("w1", "o1", strategy_id="w"))
    build_pairs(lab.connection, ["a", "b"])
    assert lab.rows("SELECT experiment_id, control_report_id, variant_report_id FROM pairs ORDER BY ALL") == [
        ("a", "c1", "v1"),
        ("b", "c1", "w1"),
    ]


def test_a_late_report_replaces_what_it_touches_and_marks_the_cells(lab: Lab) -> None:
    lab.plan()
    lab.ingest(report("c1", "o1"), report("c2", "o2", 7200), variant_report("v2", "o2"))
    build_pairs(lab.connection, ["exp"])
    lab.connection.execute("DELETE FROM stale_cells")
    lab.ingest(variant_report("v1", "o1", 100_000))
    result = build_pairs(lab.connection, ["exp"])
    assert (result.removed, result.pairs, result.unmatched, result.rebuilt) == (0, 1, 0, ())
    assert lab.rows(PAIRS) == [("o1", "c1", "v1"), ("o2", "c2", "v2")]
    assert lab.rows(UNMATCHED) == []
    assert lab.rows("SELECT DISTINCT * FROM stale_cells") == [("exp", START, "m1")]


def test_a_moved_pair_marks_the_old_cell_and_the_new_one(lab: Lab) -> None:
    lab.plan()
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"))
    build_pairs(lab.connection, ["exp"])
    lab.connection.execute("DELETE FROM stale_cells")
    lab.ingest(report("c2", "o1", 7200))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows("SELECT DISTINCT * FROM stale_cells ORDER BY ALL") == [
        ("exp", START, "m1"),
        ("exp", START + timedelta(hours=2), "m1"),
    ]


def test_a_displaced_report_is_unpaired(lab: Lab) -> None:
    lab.plan()
    variant = variant_report("v1", "o1")
    lab.ingest(report("c1", "o1"), variant)
    build_pairs(lab.connection, ["exp"])
    lab.ingest(displaced=[variant])
    result = build_pairs(lab.connection, ["exp"])
    assert (result.removed, result.pairs) == (1, 0)
    assert lab.rows(UNMATCHED) == [("control", "no_variant", "c1")]


def test_nothing_new_touches_nothing(lab: Lab) -> None:
    lab.plan()
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"))
    build_pairs(lab.connection, ["exp"])
    lab.connection.execute("DELETE FROM stale_cells")
    assert build_pairs(lab.connection, ["exp"])[1:] == ((), 0, 0, 0)
    assert lab.rows("SELECT * FROM stale_cells") == []


def test_a_changed_rule_pairs_that_experiment_again(lab: Lab) -> None:
    lab.plan("a")
    lab.plan("b")
    lab.ingest(*(report(f"c{i}", f"o{i}", i * 3600) for i in range(3)))
    lab.ingest(*(variant_report(f"v{i}", f"o{i}") for i in range(3)))
    build_pairs(lab.connection, ["a", "b"])
    lab.plan("a", ends_at=START + timedelta(hours=1, seconds=1))
    result = build_pairs(lab.connection, ["a", "b"])
    assert (result.rebuilt, result.removed, result.pairs) == (("a",), 3, 2)
    assert lab.rows("SELECT experiment_id, count(*) FROM pairs GROUP BY ALL ORDER BY ALL") == [
        ("a", 2),
        ("b", 3),
    ]


def test_an_experiment_left_out_keeps_what_it_has_and_catches_up(lab: Lab) -> None:
    lab.plan("a")
    lab.plan("b")
    lab.ingest(report("c1", "o1"), variant_report("v1", "o1"))
    build_pairs(lab.connection, ["a", "b"])
    lab.ingest(report("c2", "o2"), variant_report("v2", "o2"))
    build_pairs(lab.connection, ["a"])
    lab.ingest(report("c3", "o3"), variant_report("v3", "o3"))
    build_pairs(lab.connection, ["a", "b"])
    counts = "SELECT experiment_id, count(*) FROM pairs GROUP BY ALL ORDER BY ALL"
    assert lab.rows(counts) == [("a", 3), ("b", 3)]


def test_an_unknown_experiment_is_refused_and_changes_nothing(lab: Lab) -> None:
    lab.plan()
    with pytest.raises(ValueError, match="not registered: ghost"):
        build_pairs(lab.connection, ["exp", "ghost"])
    assert lab.rows("SELECT * FROM pairing_progress") == []
