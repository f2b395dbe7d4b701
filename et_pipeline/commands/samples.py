"""The sample experiments of `et demo`: their plans, and the truth about each.

The plans are those in the project's `data/experiments/`. `sample_plans` beside this file is a link to that folder; in a
wheel it is a folder with the plans.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from et_pipeline.contracts.plan import Plan
from et_pipeline.generator import Scenario

SEED = 20261123
FILES = 12
DATA_UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
"""The time at which the samples' reports end, whatever the `ends_at` of their plans."""

TRUTHS: dict[str, dict[str, Any]] = {
    "line-shop-v4": {
        "opportunities": 6_000,
        "uplift": {"edge_bps": 4.0, "slippage_bps": 0.2, "fill_ratio": 0.01, "latency_ms": 5.0},
        "duplicate_share": 0.01,
        "late_share": 0.02,
    },
    "basket-rebalance-fast": {
        "opportunities": 6_000,
        "markets": 150,
        "uplift": {"edge_bps": -4.0, "slippage_bps": -0.5, "latency_ms": -10.0},
        "superseded_share": 0.01,
    },
    "quote-refresh-2s": {"opportunities": 6_000, "markets": 150, "uplift": {}, "newer_minor_share": 0.02},
    "late-news-filter": {
        "opportunities": 180,
        "markets": 25,
        "uplift": {"toxicity_bps": 0.5},
        "no_trade_share": 0.1,
        "tells_passes": True,
    },
    "wide-split-props": {
        "opportunities": 3_000,
        "uplift": {"edge_bps": 1.0},
        "metrics": ("edge_bps", "slippage_bps", "fill_ratio", "filled_size", "asked_size"),
    },
    "passive-exits-v2": {
        "opportunities": 1_200,
        "markets": 60,
        "uplift": {},
        "metrics": ("edge_bps",),
        "noise": 0.4,
        "control_unfilled": 0.0,
        "variant_unfilled": 0.0,
        "replayed_control": 1.0,
        "replay_bias": {"edge_bps": 2.5},
        "replay_noise": 3.0,
    },
    "live-inventory-skew": {
        "opportunities": 3_000,
        "markets": 60,
        "uplift": {"edge_bps": 6.0},
        "metrics": ("edge_bps",),
    },
}
"""For each experiment the number of opportunities and the true uplift, which is 0 for metrics that are left out.

`passive-exits-v2` has no true uplift, and its backtester flatters every replay. `live-inventory-skew` trades a fifth of
the traffic.
"""


def write_plans(folder: Path) -> None:
    """Copies the sample plans into a folder without plans; a folder that has plans is not changed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("*.yaml")):
        for plan in sorted((Path(__file__).parent / "sample_plans").glob("*.yaml")):
            shutil.copyfile(plan, folder / plan.name)


def generated(folder: Path, truth_path: Path) -> bool:
    """Whether the samples' reports were written already: every file that the truth names exists."""
    if not truth_path.exists():
        return False
    truth = json.loads(truth_path.read_text(encoding="utf-8"))
    return truth["seed"] == SEED and all((folder / file["name"]).exists() for file in truth["files"])


def scenario(plan: Plan, **truth: Any) -> Scenario:
    """A scenario with the arms and the window of a plan, and with the given truth."""
    return Scenario(
        experiment_id=plan.experiment_id,
        mode=plan.mode,
        control_strategy_id=plan.control.strategy_id,
        control_config_version=plan.control.config_version or "1",
        variant_strategy_id=plan.variant.strategy_id,
        variant_config_version=plan.variant.config_version or "2",
        starts_at=plan.starts_at,
        ends_at=min(plan.ends_at, DATA_UNTIL),
        traffic_split_pct=plan.traffic_split_pct,
        **truth,
    )
