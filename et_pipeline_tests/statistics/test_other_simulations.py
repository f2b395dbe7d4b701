"""The decisive scenarios of the drift, bounded and sample-ratio simulations, fewer experiments of each."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from et_pipeline_tests.statistics import bounded_simulation as bounded
from et_pipeline_tests.statistics import drift_simulation as drift
from et_pipeline_tests.statistics import sample_ratio_simulation as ratio
from et_pipeline_tests.statistics.parallel import repeat
from et_pipeline_tests.statistics.scenarios import Scenario

SEED = 7


@pytest.mark.parametrize("experiments", [12, pytest.param(24, marks=pytest.mark.simulate)])
def test_drift_detector_keeps_its_run_length_where_markets_cluster(experiments: int):
    """A rate that is 0.05 has a Monte Carlo standard error of 0.063 in 12 experiments, of 0.044 in 24."""
    scenario = Scenario("clustered", 220, 30, 3300, market_sd=0.7)
    outcomes = repeat(partial(drift.experiment, scenario), experiments, SEED, processes=1)
    lengths = np.array([outcome.run_length["two-way"] for outcome in outcomes])
    assert lengths.mean() >= 1 / drift.ALPHA
    assert np.mean([outcome.false_alarm["two-way"] for outcome in outcomes]) <= 0.05 + 2 * np.sqrt(
        0.0475 / 40
    )
    # The same markets, betted on block by block, alarm where nothing has fallen.
    assert np.mean([outcome.false_alarm["blocks"] for outcome in outcomes]) > 0.15


@pytest.mark.parametrize(
    ("name", "fails"),
    [("3 % of 30 markets lose 0.1", "two-way"), ("±1 in 20 %, market effects", "betting")],
)
@pytest.mark.parametrize("experiments", [50, pytest.param(100, marks=pytest.mark.simulate)])
def test_hull_is_true_where_one_of_its_halves_is_not(name: str, fails: str, experiments: int):
    """A rate that is 0.05 has a Monte Carlo standard error of 0.031 in 50 experiments, of 0.022 in 100."""
    (scenario,) = (scenario for scenario in bounded.SCENARIOS if scenario.name == name)
    alone = partial(bounded.experiment, scenario._replace(blocks=300))
    outcomes = repeat(alone, experiments, SEED, processes=1)
    assert bounded.false_rate(outcomes, fails) > 0.12
    assert bounded.false_rate(outcomes) <= 0.05


def test_sample_ratio_alarms_at_most_as_often_as_said_and_soon_where_it_should():
    right = repeat(partial(ratio.experiment, ratio.Split(0.1, 0.1)), 400, SEED, processes=1)
    assert np.mean([outcome.alarm_05 for outcome in right]) <= 0.05
    assert np.mean([outcome.chi_squared for outcome in right]) > 0.3
    wrong = repeat(partial(ratio.experiment, ratio.Split(0.1, 0.15)), 50, SEED, processes=1)
    assert np.median([outcome.opportunities for outcome in wrong]) < 1500


def test_the_seed_alone_decides_the_result():
    split = partial(ratio.experiment, ratio.Split(0.5, 0.5, 200))
    assert repeat(split, 8, 1, processes=1) == repeat(split, 8, 1, processes=2)
    assert repeat(split, 8, 1, processes=1) != repeat(split, 8, 2, processes=1)


@pytest.mark.parametrize("module", [bounded, drift, ratio])
def test_the_command_prints_one_row_per_scenario(module, monkeypatch, capsys):
    few = [
        scenario._replace(**SMALL[module.__name__.rpartition(".")[2]]) for scenario in module.SCENARIOS[:2]
    ]
    monkeypatch.setattr(module, "SCENARIOS", few)
    monkeypatch.setattr("sys.argv", ["simulation", "--experiments", "3", "--processes", "1"])
    assert module.main() in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(module.HEAD) + 1}


SMALL = {
    "bounded_simulation": {"blocks": 30},
    "drift_simulation": {"blocks": 40, "pairs": 400},
    "sample_ratio_simulation": {"opportunities": 100},
}
