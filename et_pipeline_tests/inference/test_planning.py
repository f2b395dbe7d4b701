"""What a plan with looks can decide: the recursion compared with simulated paths, and what helps."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.inference import planning
from et_pipeline.inference.planning import DRAWS, Claim, blocks_needed, prospect, smallest_uplift
from et_pipeline.inference.power import Assumptions

HOURLY = Assumptions(
    sd=20, within_market=0.05, within_block=0.05, pairs_per_block=20, markets=40, market_life=24
)
STEADY = Assumptions(sd=1, within_market=0, within_block=0, pairs_per_block=10, markets=1000)
GUARD = Claim(HOURLY._replace(sd=8), 0.0, null=-1.0)


def test_examples_in_docstrings():
    result = doctest.testmod(planning)
    assert result.failed == 0
    assert result.attempted > 0


@pytest.mark.parametrize("uplift", [0.0, 0.6, 1.0, 1.4])
def test_the_recursion_agrees_with_drawn_paths(uplift):
    claims = [Claim(HOURLY, uplift)]
    share = np.arange(1, 65) / 64
    boundaries = [planning._boundary(claims[0], share, 500, 0.05, 0)]
    alone = planning._crossed_alone(claims[0], *boundaries[0])
    drawn = planning._crossed_together(claims, boundaries)
    error = np.sqrt(alone * (1 - alone) / DRAWS)
    assert (np.abs(alone - drawn) <= 4 * error + 1e-3).all()


def test_without_an_uplift_better_is_said_in_half_of_alpha():
    """A little less, for t quantiles are wider than those of a Brownian motion."""
    found = prospect([Claim(HOURLY, 0.0)], blocks=500, alpha=0.05).probability
    assert 0.02 < found <= 0.025


def test_an_uplift_that_one_look_finds_with_90_per_cent_is_found_at_the_looks_of_the_plan():
    """3.24 final standard errors, as in `make simulate`: 0.87 there with a variance that is known."""
    se = STEADY.standard_error(300)
    found = prospect([Claim(STEADY, 3.24 * se)], blocks=300, alpha=0.05)
    assert 0.84 < found.probability < 0.89
    assert 0.5 < found.expected_share < 0.8


def test_guardrails_cost_power_and_hopeless_ones_all_of_it():
    alone = prospect([Claim(HOURLY, 1.2)], blocks=500, alpha=0.05)
    guarded = prospect([Claim(HOURLY, 1.2), GUARD], blocks=500, alpha=0.05)
    assert guarded.primary == alone.probability > guarded.probability
    assert guarded.expected_share > alone.expected_share
    hopeless = prospect([Claim(HOURLY, 1.2), GUARD._replace(uplift=-1.0)], blocks=500, alpha=0.05)
    assert hopeless.probability < 0.05
    assert hopeless.target_share == np.inf


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 2.0), st.integers(60, 2000), st.sampled_from([(), (GUARD,)]))
def test_more_markets_more_time_and_a_larger_uplift_decide_no_less(uplift, blocks, guards):
    claims = [Claim(HOURLY, uplift), *guards]
    base = prospect(claims, blocks=blocks, alpha=0.05).probability - 0.02
    crowd = [one._replace(assumptions=one.assumptions._replace(markets=80)) for one in claims]
    assert prospect(crowd, blocks=blocks, alpha=0.05).probability >= base
    assert prospect(claims, blocks=2 * blocks, alpha=0.05).probability >= base
    assert (
        prospect([claims[0]._replace(uplift=uplift * 1.5), *guards], blocks=blocks, alpha=0.05).probability
        >= base
    )


def test_the_shortest_plan_and_the_smallest_uplift_are_decided_with_80_per_cent():
    claims = [Claim(HOURLY, 1.2)]
    blocks = blocks_needed(claims, alpha=0.05)
    assert prospect(claims, blocks=blocks, alpha=0.05).probability == pytest.approx(0.8, abs=0.01)
    least = smallest_uplift(claims, blocks=500, alpha=0.05)
    assert prospect([Claim(HOURLY, least)], blocks=500, alpha=0.05).probability == pytest.approx(
        0.8, abs=0.01
    )


@pytest.mark.parametrize(
    ("changes", "blocks", "min_pairs"),
    [({"markets": 9, "market_life": np.inf}, 500, 0), ({}, 29, 0), ({}, 500, 20_000)],
)
def test_a_plan_that_is_never_ready_decides_nothing(changes, blocks, min_pairs):
    found = prospect(
        [Claim(HOURLY._replace(**changes), 50.0)], blocks=blocks, alpha=0.05, min_pairs=min_pairs
    )
    assert (found.probability, found.expected_share, found.target_share) == (0.0, 1.0, np.inf)


def test_too_few_markets_are_never_enough():
    few = HOURLY._replace(markets=9, market_life=np.inf)
    assert blocks_needed([Claim(few, 50.0)], alpha=0.05) == np.inf
    assert smallest_uplift([Claim(few, 50.0)], blocks=500, alpha=0.05) == np.inf


@given(st.floats(0, 0.9))
def test_longer_blocks_are_the_same_pairs(memory):
    """The variance of a mean over many blocks stays, but for the estimate of the memory itself."""
    short = HOURLY._replace(block_autocorrelation=memory, within_market=0.0, within_block=0.9)
    long = short.in_longer_blocks()
    assert long.pairs(500) == short.pairs(1000)
    assert long.block_autocorrelation <= memory


def test_a_wrong_assumption_is_named():
    with pytest.raises(ValueError, match="within_block is 2"):
        HOURLY._replace(within_block=2.0).checked()
