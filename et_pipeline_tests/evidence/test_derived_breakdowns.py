"""A primary metric that the plan derives has breakdowns and replay fidelity like any other metric."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from et_pipeline.evidence.compute import build_evidence
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.warehouse import audit
from et_pipeline_tests.pairing.lab import START, open_lab, replayed_report, report, variant_report

OPPORTUNITIES = 600


def expected(metric: str, trades: list[dict[str, Any]]) -> float:
    """The metric of one arm's trades."""
    if metric.endswith(".filled_size"):
        return sum(t["edge_bps"] * t["filled_size"] for t in trades) / sum(t["filled_size"] for t in trades)
    return -sum(t["edge_bps"] < -1 for t in trades) / len(trades)  # fewer are better


@pytest.mark.parametrize("metric", ["edge_bps.by.filled_size", "edge_bps.below.-1"])
@pytest.mark.parametrize("matching", ["correlation", "arms"])
def test_breakdowns_and_fidelity(metric: str, matching: str) -> None:
    draw = random.Random(1)
    arms = matching == "arms"
    terms = {"mode": "limited_live", "tolerance_us": 1000} if arms else {"on_no_trade": "zero"}
    reports, trades = [], []
    for i in range(OPPORTUNITIES):
        place = {"market_id": f"m{i % 40}", "side": draw.choice(["BUY", "SELL"])}
        control, variant = (
            place | {"edge_bps": draw.gauss(0, 2), "filled_size": draw.paretovariate(3)} for _ in "cv"
        )
        trades.append((control, variant))
        reports.append(report(f"c{i}", f"o{i}", i * 300, **control))
        if arms:
            reports.append(report(f"v{i}", f"p{i}", i * 300, strategy_id="v", **variant))
        else:
            reports.append(variant_report(f"v{i}", f"o{i}", i * 300, **variant))
            reports.append(replayed_report(f"r{i}", f"o{i}", i * 300, **control))
    with open_lab() as lab:
        lab.plan(
            metrics={metric: None}, matching=matching, plan=json.dumps({"breakdowns": ["side"]}), **terms
        )
        audit.append(
            lab.connection, START, "exp", "plan_registered", detail={"plan": {"traffic_split_pct": 20}}
        )
        lab.ingest(*reports)
        build_pairs(lab.connection, ["exp"])
        build_cells(lab.connection, ["exp"])
        build_evidence(lab.connection, ["exp"])
        ((closed,),) = lab.rows("SELECT max(as_of) FROM breakdowns")
        hours = int((closed - START).total_seconds()) // 3600
        seen = [pair for i, pair in enumerate(trades) if i * 300 < hours * 3600]
        found = lab.rows("SELECT metric, value, n_pairs, mean_uplift FROM breakdowns ORDER BY value")
        fidelity = lab.rows("SELECT comparison, n_pairs, mean_uplift FROM replay_fidelity ORDER BY 1")
    assert [row[:2] for row in found] == [(metric, "BUY"), (metric, "SELL")]
    for _, side, number, uplift in found:
        controls, variants = zip(*(pair for pair in seen if pair[0]["side"] == side), strict=True)
        assert number == len(controls)
        if not arms:  # all trades are adjusted for market and hour
            assert uplift == pytest.approx(expected(metric, variants) - expected(metric, controls), abs=1e-7)
    if not arms:
        assert [row[:2] for row in fidelity] == [("like_for_like", len(seen)), ("replay_gap", len(seen))]
        controls, variants = zip(*seen, strict=True)
        like, gap = (row[2] for row in fidelity)
        assert like == pytest.approx(expected(metric, variants) - expected(metric, controls), abs=1e-7)
        assert gap == pytest.approx(0.0, abs=1e-12)
