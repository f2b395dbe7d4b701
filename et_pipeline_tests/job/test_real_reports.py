"""The job on reports of real strategies on real prices, with known answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from et_pipeline.evidence.compute import read_series
from et_pipeline.evidence.paths import inference_cells, read_cells
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.inference.twoway import interval_path
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.job.conftest import World

REAL = Path(__file__).parents[3] / "shared" / "real"
KNOWN = {
    "real-momentum": (3.097, 1.778, 2.830, 2.893),
    "real-placebo": (-4.028, 1.684, 5.871, 5.871),
    "real-slow-and-costly": (-0.512, 0.623, 1.064, 1.064),
}
"""Mean uplift; standard errors by market, by day and two-way, without small-sample factors."""


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real reports is not beside this checkout")
def test_real_reports_give_the_known_answers(world: World) -> None:
    for name in ("experiments", "report_bus"):
        shutil.copytree(REAL / name, world.folder / name, dirs_exist_ok=True)
    assert world.tick().success
    assert dict(world.rows("SELECT experiment_id, count(*) FROM pairs GROUP BY ALL")) == dict.fromkeys(
        KNOWN, 25_140
    )
    assert dict(world.rows("SELECT experiment_id, round(mean_uplift, 3) FROM intervals")) == {
        name: mean for name, (mean, *_) in KNOWN.items()
    }
    with open_warehouse(world.settings) as connection:
        for series in read_series(connection, registered_experiments(connection, KNOWN)):
            cells = inference_cells(read_cells(connection, series))
            last = interval_path(cells, alpha=series.experiment.alpha, g=series.experiment.g).at(-1)
            found = (last.se_market, last.se_block, last.se_raw)
            assert found == pytest.approx(KNOWN[series.experiment.experiment_id][1:], abs=6e-4)
    verdicts = dict(world.rows("SELECT experiment_id, verdict FROM verdicts"))
    assert verdicts["real-placebo"] == "inconclusive", "two coins differ in nothing"
    assert set(verdicts.values()) == {"inconclusive"}, "twenty markets cannot tell differences of a few bps"
