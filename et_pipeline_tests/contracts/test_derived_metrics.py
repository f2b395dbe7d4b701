"""Metrics that a plan derives: their names, their rules, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS, WEIGHTS, beyond, by_size, metric_of
from et_pipeline.contracts.plan import Plan, content_hash, parse_plan

PLAN: dict[str, Any] = {
    "experiment_id": "exp",
    "title": "t",
    "hypothesis": "h",
    "owner": "o",
    "mode": "shadow",
    "control": {"strategy_id": "c"},
    "variant": {"strategy_id": "v"},
    "planned_pairs": 100,
    "starts_at": datetime(2026, 11, 1, tzinfo=UTC),
    "ends_at": datetime(2026, 12, 1, tzinfo=UTC),
}


def parsed(*metrics: dict[str, Any], **changes: Any) -> Plan | list[str]:
    outcome = parse_plan(yaml.safe_dump(PLAN | {"metrics": list(metrics)} | changes).encode(), "plan.yaml")
    return outcome if isinstance(outcome, Plan) else [str(refusal) for refusal in outcome]


def test_each_entry_has_a_name_of_its_own_in_any_role() -> None:
    plan = parsed(
        {"name": "edge_bps", "weight": "filled_size", "role": "primary", "equivalence_margin": 2.0},
        {"name": "edge_bps", "below": -50, "role": "guardrail", "non_inferiority_margin": 0.02},
        {"name": "latency_ms", "above": 500, "role": "secondary", "estimator": "bounded"},
        {"name": "edge_bps", "role": "secondary"},
    )
    assert isinstance(plan, Plan)
    assert [(entry.metric.name, entry.metric.unit, entry.effective_estimator) for entry in plan.metrics] == [
        ("edge_bps.by.filled_size", "bps", "ratio"),
        ("edge_bps.below.-50", "share", "mean"),
        ("latency_ms.above.500", "share", "bounded"),
        ("edge_bps", "bps", "mean"),
    ]
    assert Plan.model_validate_json(json.dumps(plan.model_dump(mode="json"))) == plan


def test_more_is_better_only_where_the_limit_makes_it_so() -> None:
    assert [
        beyond("latency_ms", "above", 500).direction,
        beyond("latency_ms", "below", 500).direction,
        beyond("edge_bps", "above", 0).direction,
        beyond("edge_bps", "below", 0).direction,
        by_size("slippage_bps", "filled_size").direction,
    ] == [-1, 1, 1, -1, -1]


@given(
    name=st.sampled_from(REPORT_METRICS),
    side=st.sampled_from(("above", "below")),
    share=st.floats(1e-12, 1 - 1e-12),
)
def test_a_share_is_found_again_by_its_name(name: str, side: str, share: float) -> None:
    source = CATALOGUE[name]
    limit = source.lower + share * (source.upper - source.lower)
    if not source.lower < limit < source.upper:
        return
    metric = beyond(name, side, limit)
    assert metric_of(metric.name) == metric
    assert "e" not in metric.name.rpartition(f".{side}.")[2]
    assert metric.column.isidentifier()


def test_a_metric_by_size_is_found_again_by_its_name() -> None:
    every = [by_size(name, weight) for name in REPORT_METRICS for weight in WEIGHTS if name != weight]
    assert [metric_of(metric.name) for metric in every] == every
    assert len({metric.column for metric in every}) == len(every)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"name": "edge_bps", "weight": "latency_ms"},
            "metrics.0.weight: a metric is counted by a size; allowed for edge_bps: filled_size, asked_size",
        ),
        ({"name": "filled_size", "weight": "filled_size"}, "allowed for filled_size: asked_size"),
        ({"name": "size_fill_ratio", "weight": "filled_size"}, "weight: derived from what reports carry; allowed with: edge"),
        ({"name": "size_fill_ratio", "above": 0.5}, "above: derived from what reports carry; allowed with: edge_bps"),
        ({"name": "fill_ratio", "above": 1}, "allowed for fill_ratio: 0 <= above < 1"),
        ({"name": "fill_ratio", "below": 0}, "allowed for fill_ratio: 0 < below <= 1"),
        ({"name": "latency_ms", "above": 0}, "allowed for latency_ms: 0 < above < 86400000"),
        ({"name": "latency_ms", "above": 5, "below": 3}, "below: allowed: one of weight, above, below"),
        ({"name": "latency_ms", "weight": "filled_size", "below": 3}, "below: allowed: one of"),
        ({"name": "edge_bps", "weight": "filled_size", "estimator": "mean"}, "allowed: ratio"),
        ({"name": "latency_ms", "above": 5, "estimator": "ratio"}, "allowed: mean or bounded"),
        ({"name": "latency_ms", "above": 5, "winsor": [0, 1]}, "winsor: latency_ms.above.5 is 0 or 1 for each trade"),
        ({"name": "size_fill_ratio", "winsor": [0, 1]}, "winsor: size_fill_ratio divides totals, so no single trade has a value to limit"),
        ({"name": "edge_bps", "weight": "filled_size", "winsor": [-5, 20_000]}, "must lie within -10000 <= edge_bps.by"),
        ({"name": "latency_ms.above.5"}, "is not in the metric catalogue; allowed: edge_bps"),
        ({"name": "latency_ms", "above": ".nan"}, "above"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_refused_with_what_is_allowed(entry: dict[str, Any], sentence: str) -> None:
    found = parsed(entry | {"role": "primary"})
    assert isinstance(found, list)
    assert any(sentence.removeprefix("metrics.0.") in line for line in found), found


def test_a_metric_by_size_may_hold_its_values_within_limits() -> None:
    plan = parsed({"name": "edge_bps", "weight": "filled_size", "winsor": [-50, 80], "role": "primary"})
    assert isinstance(plan, Plan) and plan.primary.winsor == (-50, 80)


def test_the_same_derived_metric_twice_is_refused() -> None:
    one = {"name": "edge_bps", "weight": "filled_size"}
    found = parsed(one | {"role": "primary"}, one | {"role": "secondary"})
    assert isinstance(found, list) and len(found) == 1
    assert found[0].startswith("plan.yaml: metrics: edge_bps.by.filled_size is listed more than once")


def test_a_plan_that_derives_nothing_keeps_its_hash() -> None:
    plan = parsed({"name": "edge_bps", "role": "primary"})
    assert isinstance(plan, Plan)
    assert plan.frozen["metrics"] == [
        {
            "name": "edge_bps",
            "role": "primary",
            "non_inferiority_margin": None,
            "equivalence_margin": None,
            "estimator": None,
            "winsor": None,
        }
    ]
    assert plan.plan_hash == content_hash(plan.frozen)
    other = parsed({"name": "edge_bps", "role": "primary", "above": 1})
    assert isinstance(other, Plan) and other.plan_hash != plan.plan_hash


def test_weighting_is_declared_and_frozen_with_every_estimator() -> None:
    edge = {"name": "edge_bps", "role": "primary"}
    plain, declared = parsed(edge), parsed(edge, weighting="markets")
    assert isinstance(plain, Plan) and isinstance(declared, Plan)
    assert "weighting" not in plain.frozen and declared.frozen["weighting"] == "markets"
    assert parsed(edge, weighting="pairs") == plain
    assert plain.plan_hash != declared.plan_hash
    for entry, changes in (
        (edge, {"mode": "limited_live"}),
        (edge | {"weight": "filled_size"}, {}),
        (edge | {"above": 5}, {}),
        (edge | {"estimator": "bounded"}, {}),
        ({"name": "size_fill_ratio", "role": "primary"}, {}),
    ):
        assert isinstance(parsed(entry, weighting="markets", **changes), Plan)
    found = parsed(edge, weighting="trades")
    assert isinstance(found, list) and len(found) == 1
    assert "weighting: allowed: 'pairs' or 'markets'" in found[0]
