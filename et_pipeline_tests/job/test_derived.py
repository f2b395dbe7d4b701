"""Metrics that a plan derives, from the files of reports to the published figures, and a rebuild gives the same."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import yaml

from et_pipeline_tests.conftest import call_et

PLANS = {
    "generated-1": {
        "metrics": [
            {"name": "edge_bps", "weight": "filled_size", "winsor": [-200, 200], "role": "primary"},
            {"name": "latency_ms", "above": 100, "role": "guardrail", "non_inferiority_margin": 0.2},
            {"name": "pnl_usd", "role": "secondary"},
        ],
        "breakdowns": ["side"],
    },
    "generated-2": {
        "metrics": [
            {"name": "edge_bps", "below": 0, "estimator": "bounded", "role": "primary"},
            {"name": "slippage_bps", "weight": "notional_usd", "role": "secondary"},
        ],
        "weighting": "markets",
    },
}


@pytest.mark.parametrize("matching", ["correlation", "arms"])
def test_derived_metrics_flow_through_a_tick_and_a_rebuild(tmp_path: Path, matching: str) -> None:
    folder = tmp_path / "data"
    made = call_et(
        folder, "generate", str(folder), "--experiments", "2", "--opportunities", "600", "--money",
        "--matching", matching,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for name, changes in PLANS.items():
        path = folder / "experiments" / f"{name}.yaml"
        plan = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
        if matching == "arms":
            plan["metrics"][0].pop("estimator", None)
        path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    ticked = call_et(folder, "tick")
    assert ticked.returncode == 0, ticked.stdout + ticked.stderr
    with duckdb.connect(str(folder / "published" / "experiments.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "SELECT experiment_id, metric, mean_uplift IS NOT NULL, se > 0, method LIKE '%mean over markets' "
            "FROM intervals ORDER BY ALL"
        ).fetchall()
        others = connection.execute(
            "SELECT experiment_id, other_weighting, other_uplift IS NOT NULL FROM diagnostics "
            "WHERE other_weighting IS NOT NULL ORDER BY ALL"
        ).fetchall()
    assert rows == [
        ("generated-1", "edge_bps.by.filled_size", True, True, False),
        ("generated-1", "latency_ms.above.100", True, True, False),
        ("generated-1", "pnl_usd", True, True, False),
        ("generated-2", "edge_bps.below.0", True, True, True),
        ("generated-2", "slippage_bps.by.notional_usd", True, True, False),
    ]
    assert others == [("generated-1", "markets", True), ("generated-2", "pairs", True)]
    shown = call_et(folder, "show", "generated-2")
    assert "edge_bps.below.0, mean over pairs (secondary):" in shown.stdout
    page = (folder / "published" / "pages" / "generated-1.html").read_text(encoding="utf-8")
    assert "edge_bps.by.filled_size, mean over markets" in page
    rebuilt = call_et(folder, "rebuild", "--check")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
