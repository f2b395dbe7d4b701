"""The paths of `replay_gap` and `like_for_like` are computed like those of the uplift, in any order of arrival."""

from __future__ import annotations

import random
from typing import Any

import pytest

from et_pipeline.evidence.compute import build_evidence
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import Lab, open_lab, replayed_report, report, variant_report

TABLES = ("pairs", "unmatched", "series_cells", "arm_progress", "series_interval_path", "series_intervals")
TABLES += ("series_drift", "replay_fidelity", "replay_gaps")
HOUR = 3600.0


def history(chance: random.Random, hours: int, flattery: float = 0.0) -> list[dict[str, Any]]:
    """Six trades of the control an hour in 24 markets; four fifths of them are replayed, some twice."""
    items = []
    for number in range(6 * hours):
        at, market = number * HOUR / 6, {"market_id": f"m{number % 24}"}
        live, kept, shared, own = (chance.randrange(-64, 64) / 16 for _ in range(4))
        items += [
            report(f"c{number}", f"o{number}", at, edge_bps=live, **market),
            variant_report(f"v{number}", f"o{number}", edge_bps=shared + own + flattery, **market),
        ]
        for again in range(chance.choice([0, 1, 1, 1, 2])):
            value = shared + kept + again + flattery
            items.append(
                replayed_report(f"r{number}-{again}", f"o{number}", float(again), edge_bps=value, **market)
            )
    return items


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])
    build_evidence(lab.connection, ["exp"])


def state(lab: Lab) -> dict[str, Any]:
    return {table: lab.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(1, 8))])
def test_any_order_and_any_ticks_give_the_same_paths(seed: int) -> None:
    chance = random.Random(seed)
    items = history(chance, hours=40)
    with open_lab() as lab:
        lab.plan()
        lab.ingest(*items)
        tick(lab)
        expected = state(lab)
        found = lab.rows("SELECT DISTINCT comparison FROM series_interval_path WHERE se > 0 ORDER BY ALL")
        assert found == [("like_for_like",), ("replay_gap",), ("uplift",)]
        assert lab.rows("SELECT DISTINCT comparison FROM series_drift ORDER BY ALL") == [
            ("like_for_like",),
            ("uplift",),
        ]
    replays_last = sorted(items, key=lambda item: item["strategy_id"] == "c" and item["mode"] == "replay")
    for order in (replays_last, chance.sample(items, len(items))):
        with open_lab() as lab:
            lab.plan()
            for start in range(0, len(order), 110):
                lab.ingest(*order[start : start + 110])
                tick(lab)
            gone = chance.sample([item for item in items if item["report_id"].startswith("r")], 5)
            lab.ingest(displaced=gone)
            tick(lab)
            lab.ingest(*gone)
            tick(lab)
            assert state(lab) == expected


def test_what_every_replay_is_flattered_by_is_the_gap_and_changes_no_path_like_for_like() -> None:
    found = {}
    for flattery in (0.0, 2.0):
        with open_lab() as lab:
            lab.plan()
            lab.ingest(*history(random.Random(7), hours=40, flattery=flattery))
            tick(lab)
            found[flattery] = {
                comparison: lab.rows(
                    f"SELECT * FROM series_interval_path WHERE comparison = '{comparison}' ORDER BY ALL"
                )
                for comparison in ("uplift", "replay_gap", "like_for_like")
            }
            found[flattery]["means"] = dict(lab.rows("SELECT comparison, mean_uplift FROM series_intervals"))
    true, flattered = found[0.0], found[2.0]
    assert true["like_for_like"] == flattered["like_for_like"] != []
    for name in ("uplift", "replay_gap"):
        assert flattered["means"][name] - true["means"][name] == pytest.approx(2.0)


def test_when_every_replay_of_the_control_is_taken_back_only_the_uplift_is_left() -> None:
    items = history(random.Random(1), hours=12)
    replays = [item for item in items if item["report_id"].startswith("r")]
    with open_lab() as lab:
        lab.plan()
        lab.ingest(*(item for item in items if item not in replays))
        tick(lab)
        without = state(lab)
    with open_lab() as lab:
        lab.plan()
        lab.ingest(*items)
        tick(lab)
        lab.ingest(displaced=replays)
        tick(lab)
        assert state(lab) == without
