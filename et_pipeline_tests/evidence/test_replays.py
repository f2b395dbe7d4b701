"""How many of the control's opportunities the variant reported, from reports to the table `replays`."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, report, variant_report

HOUR = 3600
PASSED = {"decision": "passed", **dict.fromkeys(REPORT_METRICS)}
TABLES = ("pairs", "unmatched", "cells", "arm_progress", "interval_path", "intervals", "replays")


def history(hours: int) -> list[dict[str, Any]]:
    """Four trades of the control an hour; of the first the variant has a trade, of the second a pass, of the
    third nothing, and of the fourth a trade only in even hours. The control's own pass is no opportunity of its."""
    items = []
    for hour in range(hours):
        at = [hour * HOUR + 60.0 * minute for minute in range(5)]
        items += [report(f"c{hour}-{number}", f"o{hour}-{number}", at[number]) for number in range(4)]
        items += [
            report(f"c{hour}-4", f"o{hour}-4", at[4], **PASSED),
            variant_report(f"v{hour}-0", f"o{hour}-0", at[0] + 900_000, edge_bps=2.0),
            variant_report(f"v{hour}-1", f"o{hour}-1", at[1] + 900_000, **PASSED),
        ]
        if hour % 2 == 0:
            items.append(variant_report(f"v{hour}-3", f"o{hour}-3", at[3] + 900_000, edge_bps=1.0))
    return items


def tick(lab: Lab) -> None:
    build_pairs(lab.connection, ["exp"])
    build_cells(lab.connection, ["exp"])
    build_evidence(lab.connection, ["exp"])


def state(lab: Lab) -> dict[str, Any]:
    return {table: lab.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 8), marks=pytest.mark.faults)])
@pytest.mark.parametrize(
    ("on_no_trade", "even", "odd", "newest"),
    [
        ("exclude", (4, 1, 0, 1), (4, 1, 0, 2), (4, 1, 0, 2)),
        ("zero", (4, 1, 0, 1), (4, 1, 0, 2), (4, 1, 0, 2)),
        ("assume_zero", (4, 1, 1, 0), (4, 1, 2, 0), (4, 1, 0, 2)),
    ],
)
def test_every_opportunity_of_the_control_is_counted_as_what_it_is(
    on_no_trade: str, even: tuple[int, ...], odd: tuple[int, ...], newest: tuple[int, ...], seeds: range
) -> None:
    """In any order and any ticks; in the newest block a missing replay may still come, so nothing is assumed."""
    items = history(6)
    with open_lab() as lab:
        lab.plan(on_no_trade=on_no_trade)
        lab.ingest(*items)
        tick(lab)
        expected = state(lab)
        assert lab.rows("SELECT opportunities, passed, assumed, missing FROM replays ORDER BY as_of") == [
            even, odd, even, odd, even, newest,
        ]  # fmt: skip
        ends = lab.rows("SELECT as_of, closed FROM interval_path ORDER BY as_of")
        assert ends == [(START + timedelta(hours=hour), hour < 6) for hour in range(1, 7)]
    for seed in seeds:
        chance = random.Random(seed)
        shuffled = chance.sample(items, len(items))
        with open_lab() as lab:
            lab.plan(on_no_trade=on_no_trade)
            for start in range(0, len(shuffled), 9):
                lab.ingest(*shuffled[start : start + 9])
                tick(lab)
            gone = chance.choice(items)
            lab.ingest(displaced=[gone])
            tick(lab)
            lab.ingest(gone)
            tick(lab)
            assert state(lab) == expected, seed


def test_without_a_single_replay_nothing_counts_as_zero() -> None:
    """However the control did: its reports alone are no comparison."""
    for on_no_trade in ("exclude", "zero", "assume_zero"):
        with open_lab() as lab:
            lab.plan(on_no_trade=on_no_trade)
            lab.ingest(*(report(f"c{n}", f"o{n}", n * 600.0, edge_bps=-8.0) for n in range(300)))
            tick(lab)
            assert lab.rows("SELECT count(*) FROM pairs") == [(0,)]
            assert lab.rows("SELECT count(*) FROM interval_path") == [(0,)]
            assert lab.rows("SELECT sum(missing), sum(opportunities) FROM replays") == [(300, 300)]


def test_what_lies_outside_the_window_is_no_opportunity() -> None:
    """Stamped 1970, hours before the start, at the end to the microsecond: counted, and no part of the sample."""
    with open_lab() as lab:
        lab.plan(ends_at=START + timedelta(hours=2))
        epoch = -(START - START.replace(year=1970, month=1, day=1)).total_seconds()
        times = (epoch, -5 * HOUR, 0.0, 2 * HOUR - 1e-6, 2 * HOUR)
        lab.ingest(
            *(report(f"c{n}", f"o{n}", at) for n, at in enumerate(times)),
            *(variant_report(f"v{n}", f"o{n}", 3 * HOUR) for n in range(len(times))),
        )
        tick(lab)
        assert lab.rows("SELECT control_report_id FROM pairs ORDER BY 1") == [("c2",), ("c3",)]
        assert lab.rows("SELECT arm, reason, count(*) FROM unmatched GROUP BY ALL ORDER BY ALL") == [
            ("control", "after_end", 1),
            ("control", "too_early", 2),
            ("variant", "after_end", 1),
            ("variant", "too_early", 2),
        ]
        assert lab.rows("SELECT sum(opportunities), sum(missing) FROM replays") == [(2, 0)]
        shares = "SELECT unmatched_control_share, unmatched_variant_share FROM diagnostics"
        assert lab.rows(shares) == [(0.0, 0.0)]
