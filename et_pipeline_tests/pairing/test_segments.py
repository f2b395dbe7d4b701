"""Cells of breakdowns: the same pairs, divided by a dimension; together they are the cells of the whole."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from et_pipeline.contracts.breakdowns import Breakdown
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import Lab, open_lab, report, variant_report

ASKED = json.dumps(
    {
        "breakdowns": ["side", "outcome_id", "hour", "market", "label.desk"],
        "market_groups": {"nba": "nba-*", "finals": "nba-finals-*"},
    }
)
LIVE = {"mode": "limited_live", "matching": "arms", "tolerance_us": 60_000_000}


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab() as found:
        yield found


def labelled(desk: str | None) -> str | None:
    return None if desk is None else json.dumps({"labels": {"desk": desk}, "other": 1}, separators=(",", ":"))


MARKETS = ("nba-a", "nba-finals-b", "nfl-c")


def some_reports(
    seed: int, count: int = 60, markets: Sequence[str] = MARKETS, **of_variant: Any
) -> list[dict[str, Any]]:
    """Opportunities of both arms with all dimensions at random; the variant's reports name other labels."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        place = {
            "market_id": draw.choice(markets),
            "outcome_id": draw.choice(["yes", "no"]),
            "side": draw.choice(["BUY", "SELL"]),
        }
        at, name = draw.uniform(0, 30 * 3600), f"{seed}-{number}"
        desk = draw.choice(["north", "south", None])
        found.append(report(f"c{name}", name, at, edge_bps=draw.gauss(0, 3), extra=labelled(desk), **place))
        found.append(
            variant_report(
                f"v{name}",
                name,
                at,
                edge_bps=draw.gauss(1, 3),
                extra=labelled("variant"),
                **place,
                **of_variant,
            )
        )
    return found


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])


def segments(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.rows("SELECT * FROM segment_cells ORDER BY ALL")


def test_each_value_has_its_own_pairs(lab: Lab) -> None:
    lab.plan(plan=ASKED)
    lab.ingest(
        report("c1", "1", 60, market_id="nba-finals-1", side="SELL", extra=labelled("north")),
        variant_report(
            "v1", "1", 60, market_id="nba-finals-1", side="SELL", edge_bps=3.0, extra=labelled("x")
        ),
        report("c2", "2", 23 * 3600, market_id="tennis", outcome_id="no"),
        variant_report("v2", "2", 23 * 3600, market_id="tennis", outcome_id="no", edge_bps=0.0),
    )
    tick(lab)
    found = lab.rows("SELECT dimension, value, n, sum FROM segment_cells ORDER BY ALL")
    assert found == [
        ("hour", "00", 1, 2.0),
        ("hour", "23", 1, -1.0),
        ("label.desk", "(none)", 1, -1.0),
        ("label.desk", "north", 1, 2.0),
        ("market", "(none)", 1, -1.0),
        ("market", "finals", 1, 2.0),
        ("outcome_id", "no", 1, -1.0),
        ("outcome_id", "yes", 1, 2.0),
        ("side", "BUY", 1, -1.0),
        ("side", "SELL", 1, 2.0),
    ]


@pytest.mark.parametrize("live", [False, True], ids=["pairs", "trades"])
def test_the_values_of_a_dimension_are_together_the_whole(lab: Lab, live: bool) -> None:
    lab.plan(plan=ASKED, **(LIVE if live else {}))
    lab.ingest(*some_reports(1, **({"mode": "live"} if live else {})))
    tick(lab)
    sums = "sum(n), sum(sum), sum(numerator_control), sum(numerator_variant), sum(n_control), sum(n_variant)"
    whole = lab.rows(f"SELECT block, market_id, {sums} FROM cells GROUP BY ALL ORDER BY ALL")
    assert len(whole) > 40
    for dimension in json.loads(ASKED)["breakdowns"]:
        parts = lab.rows(
            f"SELECT block, market_id, {sums} FROM segment_cells WHERE dimension = '{dimension}' GROUP BY ALL ORDER BY ALL"
        )
        assert [row[:3] for row in parts] == [row[:3] for row in whole]
        for mine, theirs in zip(parts, whole, strict=True):
            assert mine[3:] == tuple(
                None if figure is None else pytest.approx(figure, abs=1e-6) for figure in theirs[3:]
            )


@pytest.mark.parametrize("live", [False, True], ids=["pairs", "trades"])
def test_order_and_number_of_ticks_do_not_matter(live: bool) -> None:
    reports = some_reports(2, **({"mode": "live"} if live else {}))
    states = []
    for order in range(3):
        random.Random(order).shuffle(reports)
        with open_lab() as lab:
            lab.plan(plan=ASKED, **(LIVE if live else {}))
            size = (len(reports), 19, 41)[order]
            for start in range(0, len(reports), size):
                lab.ingest(*reports[start : start + size])
                tick(lab)
            states.append(segments(lab))
    assert states[0] and states[0] == states[1] == states[2]


def test_a_replaced_report_takes_its_value_along(lab: Lab) -> None:
    lab.plan(plan=ASKED)
    lab.ingest(report("c", "1", 60, extra=labelled("north")), variant_report("v", "1", 60))
    tick(lab)
    lab.ingest(report("c-later", "1", 61, extra=labelled("south")))
    tick(lab)
    assert lab.rows("SELECT value FROM segment_cells WHERE dimension = 'label.desk'") == [("south",)]


def test_a_plan_that_asks_for_none_has_none(lab: Lab) -> None:
    lab.plan()
    lab.ingest(*some_reports(3, 5))
    tick(lab)
    assert segments(lab) == []


def test_the_pattern_with_the_most_letters_names_the_group() -> None:
    groups = Breakdown("market", {"b": "nba-*", "a": "nba-*", "finals": "nba-*-final*", "all.": "n.a*"})
    assert groups.group_of("nba-1") == "a"
    assert groups.group_of("nba-x-finals") == "finals"
    assert groups.group_of("nxa-1") == "(none)", "a point is a point"
    assert groups.group_of("xnba-1") == "(none)"
