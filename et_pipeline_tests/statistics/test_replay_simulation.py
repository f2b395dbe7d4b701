"""A variant that is the control, replayed by a backtester that flatters: from its snapshots to its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from et_pipeline_tests.statistics.replay_simulation import NOISE, Condition, verdicts

EXPERIMENTS = 10
"""Of ten nulls more than one is called better in 2.5 % of runs where each is in alpha/2 of experiments."""


@pytest.mark.parametrize(
    ("condition", "better"),
    [
        (Condition(bias=6.0, coverage=0.0), range(8, EXPERIMENTS + 1)),
        (Condition(bias=6.0, coverage=1.0), range(2)),
        (Condition(bias=40.0, coverage=0.7, noise=NOISE), range(2)),
        (Condition(bias=6.0, coverage=1.0, noise=NOISE, uplift=6.0), range(8, EXPERIMENTS + 1)),
    ],
)
def test_what_a_backtester_flatters_makes_no_better_variant_where_it_replays_the_control(
    tmp_path: Path, condition: Condition, better: range
) -> None:
    found = verdicts(tmp_path / "data", condition, experiments=EXPERIMENTS)
    assert found["variant_better"] in better, found
    assert found["variant_worse"] == 0, found
