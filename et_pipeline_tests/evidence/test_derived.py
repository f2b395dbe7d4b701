"""Evidence of metrics that a plan derives, from reports to intervals and diagnostics."""

from __future__ import annotations

import numpy as np
import pytest

from et_pipeline.evidence.compute import build_evidence
from et_pipeline.inference.cells import from_pairs
from et_pipeline.inference.ratio import from_pairs as ratio_from_pairs
from et_pipeline.inference.ratio import ratio_path
from et_pipeline.inference.twoway import interval_path
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline_tests.pairing.lab import Lab, open_lab, report, variant_report

PAIRS, BLOCKS, MARKETS = 800, 60, 30
BY_SIZE, SLOW = "edge_bps.by.filled_size", "latency_ms.above.500"
HOUR = 3600


@pytest.fixture(scope="module")
def world() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "second": np.sort(rng.choice(BLOCKS * HOUR, PAIRS, replace=False)),
        "market": rng.integers(0, MARKETS, PAIRS),
        "edge": np.round(rng.normal(size=(PAIRS, 2)), 6),
        "size": np.round(rng.pareto(4, (PAIRS, 2)) + 1, 3) * (rng.random((PAIRS, 2)) > 0.1),
        "latency": np.round(rng.lognormal(6, 0.5, (PAIRS, 2)), 3),
    }


@pytest.fixture(scope="module")
def rows(world: dict[str, np.ndarray]) -> dict[str, dict[str, object]]:
    with open_lab() as lab:
        lab.plan(metrics={BY_SIZE: None, SLOW: None})
        reports = []
        for i in range(PAIRS):
            for arm, make in enumerate((report, variant_report)):
                reports.append(
                    make(
                        f"{arm}-{i}",
                        f"o{i}",
                        float(world["second"][i]),
                        market_id=f"m{world['market'][i]:02}",
                        edge_bps=float(world["edge"][i, arm]),
                        filled_size=float(world["size"][i, arm]),
                        latency_ms=float(world["latency"][i, arm]),
                    )
                )
        lab.ingest(*reports)
        build_pairs(lab.connection, ["exp"])
        build_cells(lab.connection, ["exp"])
        build_evidence(lab.connection, ["exp"])
        return _rows(lab)


def _rows(lab: Lab) -> dict[str, dict[str, object]]:
    relation = lab.connection.sql("SELECT * FROM intervals JOIN diagnostics USING (experiment_id, metric)")
    return {row[relation.columns.index("metric")]: dict(zip(relation.columns, row, strict=True))
            for row in relation.fetchall()}  # fmt: skip


def test_by_size_is_the_difference_of_ratios_of_totals(
    world: dict[str, np.ndarray], rows: dict[str, dict[str, object]]
) -> None:
    block = world["second"] // HOUR
    arms = [
        np.column_stack((world["edge"][:, arm] * world["size"][:, arm], world["size"][:, arm]))
        for arm in (1, 0)
    ]
    path = ratio_path(ratio_from_pairs(block, world["market"], *arms), alpha=0.05, g=10.0, by_size=True).at(
        -1
    )
    found, size, edge = rows[BY_SIZE], world["size"], world["edge"]
    means = (edge * size).sum(axis=0) / size.sum(axis=0)
    assert found["mean_uplift"] == pytest.approx(means[1] - means[0], abs=1e-9)
    for column, expected in (("se", path.se), ("ci_lower", path.ci_lower), ("n_pairs", PAIRS)):
        assert found[column] == pytest.approx(float(expected), rel=1e-6)
    assert found["method"] == "two-way anytime-valid t, delta method"
    total = np.bincount(world["market"], size.sum(axis=1))
    rest = world["market"] != total.argmax()
    without = (edge[rest] * size[rest]).sum(axis=0) / size[rest].sum(axis=0)
    assert found["largest_market"] == f"m{total.argmax():02}"
    assert found["largest_market_share"] == pytest.approx(total.max() / total.sum())
    assert found["mean_without_largest_market"] == pytest.approx(without[1] - without[0], abs=1e-9)


def test_a_share_is_the_mean_of_ones_and_zeros(
    world: dict[str, np.ndarray], rows: dict[str, dict[str, object]]
) -> None:
    slow = (world["latency"] > 500).astype(float)
    uplift = slow[:, 0] - slow[:, 1]
    path = interval_path(from_pairs(world["second"] // HOUR, world["market"], uplift), alpha=0.05, g=10.0).at(
        -1
    )
    found = rows[SLOW]
    for column, expected in (
        ("mean_uplift", uplift.mean()),
        ("se", path.se),
        ("ci_upper", path.ci_upper),
        ("sd_uplift", uplift.std(ddof=1)),
        ("median_uplift", 0.0),
        ("share_won", (uplift > 0).mean()),
    ):
        assert found[column] == pytest.approx(float(expected), rel=1e-9, abs=1e-12)
