"""The weighting that a plan declares decides; the figures with the other weighting are always reported too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from et_pipeline.evidence.compute import build_evidence
from et_pipeline.inference.boundary import solve_g
from et_pipeline.inference.cells import Cells, from_pairs
from et_pipeline.inference.markets import market_path
from et_pipeline.inference.twoway import interval_path
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.warehouse import audit
from et_pipeline_tests.pairing.lab import START, Lab, open_lab, report, variant_report

PAIRS, BLOCKS, MARKETS, PLANNED = 900, 90, 60, 720
OPTIONS = {"alpha": 0.05, "g": solve_g(30, 0.05)}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Lab, Cells]]:
    rng = np.random.default_rng(4)
    second = np.sort(rng.choice(BLOCKS * 3600, PAIRS, replace=False))
    share = 1 / np.sqrt(np.arange(1, MARKETS + 1))
    market = rng.choice(MARKETS, PAIRS, p=share / share.sum())
    uplift = np.round(rng.normal(size=PAIRS) + rng.normal(size=MARKETS)[market], 6)
    with open_lab() as lab:
        lab.plan("exp", g=OPTIONS["g"])
        lab.plan("by-market", plan='{"weighting": "markets"}', g=OPTIONS["g"])
        reports = []
        for i in range(PAIRS):
            name = f"m{market[i]:02}"
            reports += [
                report(f"c{i}", f"o{i}", float(second[i]), market_id=name, edge_bps=0.0),
                variant_report(f"v{i}", f"o{i}", market_id=name, edge_bps=float(uplift[i])),
            ]
        lab.ingest(*reports)
        names = ["exp", "by-market"]
        build_pairs(lab.connection, names)
        build_cells(lab.connection, names)
        build_evidence(lab.connection, names)
        yield lab, from_pairs(second // 3600 * 3_600_000_000, market, uplift)


@pytest.mark.parametrize("experiment", ["exp", "by-market"])
def test_one_decides_and_the_other_is_shown(world: tuple[Lab, Cells], experiment: str) -> None:
    lab, cells = world
    pairs = interval_path(cells, **OPTIONS).at(-1)
    markets = market_path(cells, planned_blocks=PLANNED, **OPTIONS).at(-1)
    decides, other, name = (pairs, markets, "markets") if experiment == "exp" else (markets, pairs, "pairs")
    ((mean, se, n_pairs, method),) = lab.rows(
        f"SELECT mean_uplift, se, n_pairs, method FROM intervals WHERE experiment_id = '{experiment}'"
    )
    assert (mean, se, n_pairs) == pytest.approx((decides.mean, decides.se, PAIRS), rel=1e-9)
    assert method.endswith("mean over markets") == (experiment == "by-market")
    ((weighting, uplift, other_se, lower, upper),) = lab.rows(
        "SELECT other_weighting, other_uplift, other_se, other_ci_lower, other_ci_upper FROM diagnostics "
        f"WHERE experiment_id = '{experiment}'"
    )
    assert weighting == name
    assert (uplift, other_se, lower, upper) == pytest.approx(
        (other.mean, other.se, other.ci_lower, other.ci_upper), rel=1e-9
    )
    assert abs(pairs.mean - markets.mean) > 1e-3


KINDS = {
    "bounded": ("fill_ratio", "bounded", "correlation"),
    "ratio": ("size_fill_ratio", "ratio", "correlation"),
    "by size": ("edge_bps.by.filled_size", "ratio", "correlation"),
    "share": ("edge_bps.above.1", "mean", "correlation"),
    "bounded share": ("edge_bps.above.1", "bounded", "correlation"),
    "all trades": ("edge_bps", "mean", "arms"),
    "all trades by size": ("edge_bps.by.filled_size", "ratio", "arms"),
    "share of all trades": ("edge_bps.above.1", "mean", "arms"),
}
"""Primaries that are not a plain mean over pairs: metric, estimator, matching."""


@pytest.fixture(scope="module")
def every_kind() -> Iterator[Lab]:
    rng = np.random.default_rng(11)
    second = np.sort(rng.choice(BLOCKS * 3600, PAIRS, replace=False))
    share = 1 / np.arange(1, MARKETS + 1)
    market = rng.choice(MARKETS, PAIRS, p=share / share.sum())
    effect = rng.normal(size=MARKETS)[market]
    with open_lab() as lab:
        names = []
        for kind, (metric, estimator, matching) in KINDS.items():
            live = {"mode": "limited_live", "tolerance_us": 1_000_000, "variant_strategy_id": "live"}
            for weighting in ("pairs", "markets"):
                name = f"{kind}, {weighting}"
                changes = {"matching": matching, "g": OPTIONS["g"], "plan": f'{{"weighting": "{weighting}"}}'}
                lab.plan(name, {metric: None}, **changes | (live if matching == "arms" else {}))
                lab.connection.execute(
                    "UPDATE experiment_metrics SET estimator = ? WHERE experiment_id = ?", [estimator, name]
                )
                split = {"plan": {"traffic_split_pct": 50}}
                audit.append(lab.connection, START, name, "plan_registered", detail=split)
                names.append(name)
        reports = []
        for i in range(PAIRS):
            arms = [
                {
                    "market_id": f"m{market[i]:02}",
                    "edge_bps": float(np.round(rng.normal() + arm * effect[i], 6)),
                    "filled_size": float(np.round(rng.uniform(0.5, 2), 3)),
                    "asked_size": 2.5,
                    "fill_ratio": float(np.round(rng.beta(2, 2), 3) ** (1 + arm * (effect[i] > 0))),
                }
                for arm in (0, 1)
            ]
            at = float(second[i])
            reports += [
                report(f"c{i}", f"o{i}", at, **arms[0]),
                variant_report(f"v{i}", f"o{i}", at, **arms[1]),
                report(f"l{i}", f"p{i}", at, strategy_id="live", **arms[1]),
            ]
        lab.ingest(*reports)
        build_pairs(lab.connection, names)
        build_cells(lab.connection, names)
        build_evidence(lab.connection, names)
        yield lab


@pytest.mark.parametrize("kind", KINDS)
def test_with_every_estimator_one_decides_and_the_other_is_shown(every_kind: Lab, kind: str) -> None:
    """What decides with one plan is what is shown beside the other one's, and the reverse; they are not the same."""
    figures = "mean_uplift, se, ci_lower, ci_upper"
    decides = {
        weighting: every_kind.rows(
            f"SELECT {figures} FROM intervals WHERE experiment_id = '{kind}, {weighting}'"
        )[0]
        for weighting in ("pairs", "markets")
    }
    for weighting, other in (("pairs", "markets"), ("markets", "pairs")):
        shown = every_kind.rows(
            "SELECT other_weighting, other_uplift, other_se, other_ci_lower, other_ci_upper FROM diagnostics "
            f"WHERE experiment_id = '{kind}, {weighting}'"
        )[0]
        assert shown == (other, *decides[other])
        assert None not in shown
    assert abs(decides["pairs"][0] - decides["markets"][0]) > 1e-4
    methods = dict(
        every_kind.rows(f"SELECT experiment_id, method FROM intervals WHERE experiment_id LIKE '{kind}, %'")
    )
    assert methods[f"{kind}, markets"] == methods[f"{kind}, pairs"] + ", mean over markets"


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_counted_alike_by_both(every_kind: Lab, kind: str) -> None:
    counts = every_kind.rows(
        "SELECT DISTINCT n_pairs, n_control, n_variant, n_markets, n_blocks FROM intervals "
        f"WHERE experiment_id LIKE '{kind}, %'"
    )
    assert len(counts) == 1 and counts[0][0] == PAIRS


def test_the_change_detector_watches_what_the_plan_weighs(every_kind: Lab) -> None:
    found = [
        every_kind.rows(f"SELECT as_of, log_evidence FROM drift WHERE experiment_id = '{name}' ORDER BY ALL")
        for name in ("all trades, pairs", "all trades, markets")
    ]
    assert found[0] and len(found[0]) == len(found[1]) and found[0] != found[1]


def test_before_there_is_an_estimate_the_other_weighting_is_named() -> None:
    with open_lab() as lab:
        lab.plan(metrics={"edge_bps.by.filled_size": None, "edge_bps": None}, on_no_trade="zero")
        lab.ingest(
            report("c1", "o1", filled_size=1.0),
            variant_report("v1", "o1", edge_bps=None, decision="passed"),
        )
        build_pairs(lab.connection, ["exp"])
        build_cells(lab.connection, ["exp"])
        build_evidence(lab.connection, ["exp"])
        assert lab.rows("SELECT metric, other_weighting, other_uplift FROM diagnostics ORDER BY metric") == [
            ("edge_bps", None, None),
            ("edge_bps.by.filled_size", "markets", None),
        ]
