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
from et_pipeline_tests.pairing.lab import Lab, open_lab, report, variant_report

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
        for i in range(PAIRS):
            name = f"m{market[i]:02}"
            lab.ingest(
                report(f"c{i}", f"o{i}", float(second[i]), market_id=name, edge_bps=0.0),
                variant_report(f"v{i}", f"o{i}", market_id=name, edge_bps=float(uplift[i])),
            )
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


def test_where_there_is_one_weighting_only_none_is_shown() -> None:
    with open_lab() as lab:
        lab.plan(metrics={"size_fill_ratio": None, "edge_bps": None})
        sizes = {"filled_size": 1.0, "asked_size": 2.0}
        lab.ingest(report("c1", "o1", **sizes), variant_report("v1", "o1", **sizes))
        build_pairs(lab.connection, ["exp"])
        build_cells(lab.connection, ["exp"])
        build_evidence(lab.connection, ["exp"])
        assert lab.rows("SELECT metric, other_weighting, other_uplift FROM diagnostics ORDER BY metric") == [
            ("edge_bps", None, None),
            ("size_fill_ratio", None, None),
        ]
