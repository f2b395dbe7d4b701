"""Breakdowns by 12 values on a few simulated experiments; `breakdown_simulation` has the whole table.

A rate that is 0.05 has a Monte Carlo standard error of 0.077 in the 8 experiments of a scenario.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from et_pipeline.contracts.breakdowns import DELTA
from et_pipeline_tests.statistics import breakdown_simulation as simulation
from et_pipeline_tests.statistics.parallel import repeat

EXPERIMENTS = 8


def rates(scenario: simulation.Scenario) -> np.ndarray:
    run = partial(simulation.broken_down, scenario=scenario)
    return np.mean(repeat(run, EXPERIMENTS, 20261126, processes=1), axis=0)


@pytest.mark.parametrize("scenario", simulation.SCENARIOS[:2], ids=["independent", "remembering"])
def test_nothing_stands_and_nothing_differs_where_nothing_does(scenario: simulation.Scenario) -> None:
    _, stands, differ, _ = rates(scenario)
    assert stands <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / EXPERIMENTS)
    assert differ <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / EXPERIMENTS)


def test_an_uplift_that_is_the_same_everywhere_is_no_difference() -> None:
    excludes, _, differ, _ = rates(simulation.SCENARIOS[2])
    assert excludes >= 0.5
    assert differ <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / EXPERIMENTS)


def test_a_value_with_an_uplift_of_its_own_is_found() -> None:
    _, _, differ, first = rates(simulation.SCENARIOS[3])
    assert differ >= 0.5 and first >= 0.5
