from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, report, variant_report

NEAREST = {"mode": "limited_live", "matching": "nearest", "tolerance_us": 2_000_000}
PAIRS = "SELECT control_report_id, variant_report_id FROM pairs ORDER BY ALL"
UNMATCHED = "SELECT arm, reason, report_id FROM unmatched ORDER BY ALL"


def control(report_id: str, seconds: float, **changes: Any) -> dict[str, Any]:
    return report(report_id, f"o-{report_id}", seconds, **changes)


def variant(report_id: str, seconds: float, **changes: Any) -> dict[str, Any]:
    return variant_report(report_id, f"o-{report_id}", seconds, **{"mode": "live"} | changes)


def greedy(reports: list[dict[str, Any]], tolerance_us: int) -> list[tuple[str, str]]:
    """The definition, by brute force: of all possible matches the first one, again and again."""
    place = ("market_id", "outcome_id", "side")
    arms = [[item for item in reports if item["strategy_id"] == arm] for arm in ("c", "v")]
    possible = sorted(
        (abs(c["emitted_at"] - v["emitted_at"]), c["report_id"], v["report_id"])
        for c, v in product(*arms)
        if all(c[name] == v[name] for name in place)
        and abs(c["emitted_at"] - v["emitted_at"]) <= timedelta(microseconds=tolerance_us)
    )
    used: set[str] = set()
    matches = []
    for _, one, other in possible:
        if not {one, other} & used:
            used |= {one, other}
            matches.append((one, other))
    return sorted(matches)


def test_the_globally_nearest_match_comes_first(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(control("c1", 0), variant("v1", 1.9), control("c2", 3), variant("v2", 4.5), variant("v3", 9))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("c2", "v1")]
    assert lab.rows(UNMATCHED) == [
        ("control", "no_variant", "c1"),
        ("variant", "no_control", "v2"),
        ("variant", "no_control", "v3"),
    ]
    assert lab.rows("SELECT pair_time, candidates FROM pairs") == [(START + timedelta(seconds=3), 2)]


def test_the_tolerance_is_included_and_one_microsecond_more_is_not(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(control("c1", 0), variant("v1", 2), control("c2", 100), variant("v2", 102.000001))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("c1", "v1")]


@pytest.mark.parametrize("other", [{"market_id": "m2"}, {"outcome_id": "no"}, {"side": "SELL"}])
def test_only_the_same_market_outcome_and_side_match(lab: Lab, other: dict[str, str]) -> None:
    lab.plan(**NEAREST)
    lab.ingest(control("c1", 0), variant("v1", 0, **other))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == []


def test_ids_decide_where_times_do_not(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(variant("v2", 0), variant("v1", 2), control("c2", 1), control("c1", 1), control("c3", 1))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("c1", "v1"), ("c2", "v2")]


def test_a_repeated_correlation_counts_once_and_moves(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(report("c1", "o1", 0), variant("v1", 0.5))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == [("c1", "v1")]
    lab.ingest(report("c2", "o1", 500))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows(PAIRS) == []
    assert lab.rows(UNMATCHED) == [
        ("control", "no_variant", "c2"),
        ("control", "superseded", "c1"),
        ("variant", "no_control", "v1"),
    ]


def test_only_segments_near_something_new_are_matched_again(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(
        *(make(f"{name}{i}", i * 10) for i in range(100) for name, make in (("c", control), ("v", variant)))
    )
    build_pairs(lab.connection, ["exp"])
    result = build_pairs(lab.connection, ["exp"])
    assert result[1:] == ((), 0, 0, 0)
    lab.ingest(variant("late", 500.5))
    result = build_pairs(lab.connection, ["exp"])
    assert (result.removed, result.pairs, result.unmatched) == (1, 1, 1)
    assert lab.rows(UNMATCHED) == [("variant", "no_control", "late")]
    assert lab.rows("SELECT count(*) FROM pairs") == [(100,)]


def test_a_new_report_joins_two_segments(lab: Lab) -> None:
    lab.plan(**NEAREST)
    lab.ingest(control("c1", 0), variant("v1", 1.5), control("c2", 5), variant("v2", 6.9))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows("SELECT count(*) FROM pairing_segments") == [(2,)]
    lab.ingest(control("c3", 3.4))
    build_pairs(lab.connection, ["exp"])
    assert lab.rows("SELECT starts_at, ends_at FROM pairing_segments") == [
        (START, START + timedelta(seconds=6.9))
    ]
    assert lab.rows(PAIRS) == greedy_rows(lab)


def greedy_rows(lab: Lab) -> list[tuple[str, str]]:
    names = ("report_id", "strategy_id", "market_id", "outcome_id", "side", "emitted_at")
    rows = lab.rows(f"SELECT {', '.join(names)} FROM reports")
    return greedy([dict(zip(names, row, strict=True)) for row in rows], 2_000_000)


@st.composite
def crowds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Reports on a coarse grid, so that most distances tie; ids in no order of time."""
    step = draw(st.sampled_from([0.25, 0.5, 1.0, 1.999999, 2.0]))
    size = draw(st.integers(1, 24))
    names = draw(st.permutations(range(size)))
    wide = draw(st.integers(1, 12))
    return [
        (control if draw(st.booleans()) else variant)(
            f"r{name:02}",
            draw(st.integers(0, wide)) * step,
            market_id=draw(st.sampled_from(["m1", "m1", "m2"])),
        )
        for name in names
    ]


@pytest.mark.parametrize("examples", [15, pytest.param(150, marks=pytest.mark.faults)])
def test_equals_the_brute_force_reference(examples: int) -> None:
    settings(max_examples=examples)(given(crowds())(assert_equals_the_reference))()


def assert_equals_the_reference(reports: list[dict[str, Any]]) -> None:
    with open_lab() as lab:
        lab.plan(**NEAREST)
        lab.ingest(*reports)
        build_pairs(lab.connection, ["exp"])
        assert lab.rows(PAIRS) == greedy(reports, 2_000_000)
        used = Counter(name for pair in lab.rows(PAIRS) for name in pair)
        unmatched = {row[2] for row in lab.rows(UNMATCHED)}
        assert not used or max(used.values()) == 1
        assert used.keys() | unmatched == {item["report_id"] for item in reports}
        assert not used.keys() & unmatched
        for name, candidates in lab.rows("SELECT variant_report_id, candidates FROM pairs"):
            own = next(item for item in reports if item["report_id"] == name)
            assert candidates == sum(
                item["strategy_id"] == "c"
                and item["market_id"] == own["market_id"]
                and abs(item["emitted_at"] - own["emitted_at"]) <= timedelta(seconds=2)
                for item in reports
            )
