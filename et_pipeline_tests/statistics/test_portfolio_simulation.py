"""The portfolio's promise on a few simulated portfolios; `portfolio_simulation` has the whole table."""

from __future__ import annotations

import numpy as np
import pytest

from et_pipeline_tests.statistics import portfolio_simulation as simulation
from et_pipeline_tests.statistics.parallel import repeat


@pytest.mark.parametrize("portfolios", [3, pytest.param(6, marks=pytest.mark.simulate)])
def test_few_of_the_discoveries_that_stand_are_false(portfolios: int):
    """The Monte Carlo standard error is part of the bound."""
    found = np.array(repeat(simulation.portfolio, portfolios, 20261126, processes=1))
    each, counted = found[:, 0], found[:, 1]
    error = np.std(counted[:, 2]) / np.sqrt(len(counted))
    assert counted[:, 2].mean() <= simulation.DELTA + 2 * error
    assert np.all(counted[:, :2] <= each[:, :2])
    assert counted[:, 0].mean() >= simulation.WITH_UPLIFT / 4, "the strong ones of the real ones stand"
