"""A variant that is the control, replayed by a backtester that flatters: from its snapshots to its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from et_pipeline_tests.statistics.replay_simulation import ALPHA, NOISE, Condition, held, verdicts

EXPERIMENTS = 24
"""Of each null: a rate that is 0.025 has a Monte Carlo standard error of 0.032."""
UNKNOWN = Condition(bias=6.0, coverage=0.0)
NULLS = (Condition(bias=6.0, coverage=1.0), Condition(bias=40.0, coverage=0.7, noise=NOISE))
FLATTERED = Condition(bias=6.0, coverage=1.0, noise=NOISE, uplift=6.0)


@pytest.mark.parametrize(
    ("nulls", "others"), [(NULLS[:1], 8), pytest.param(NULLS, 24, marks=pytest.mark.simulate)]
)
def test_what_a_backtester_flatters_makes_no_better_variant_where_it_replays_the_control(
    tmp_path: Path, nulls: tuple[Condition, ...], others: int
) -> None:
    found = verdicts(tmp_path / "nulls", nulls, experiments=EXPERIMENTS)
    found |= verdicts(tmp_path / "others", (UNKNOWN, FLATTERED), experiments=others)
    assert found[UNKNOWN]["variant_better"] >= 0.8 * others, (
        "below half of the pairs a flattered null is called better"
    )
    assert found[FLATTERED]["variant_better"] >= 0.8 * others, (
        "a true uplift is found although the backtester flatters"
    )
    for null in nulls:
        assert held(found[null], "variant_better", limit=ALPHA / 2, experiments=EXPERIMENTS), found[null]
    assert all(counted["variant_worse"] == 0 for counted in found.values()), found
