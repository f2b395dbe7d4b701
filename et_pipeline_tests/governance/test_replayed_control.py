"""The verdict rules where the backtester replays the control too, against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from et_pipeline.governance.terms import Drift, Point, fidelity_of
from et_pipeline.governance.verdict import Assessment, assess, first_alarms
from et_pipeline_tests.governance.test_verdict import PLAN, START, guard, point

BETTER, WORSE, NOTHING, EQUAL = (0.5, 2.5), (-3.0, -1.0), (-3.0, 3.0), (-0.5, 0.5)
LIKE, GAP = "like_for_like", "replay_gap"
REQUIRED = PLAN._replace(replay_required=True)


def both(
    uplift: tuple[float, float],
    like: tuple[float, float],
    gap: tuple[float, float] = (-0.5, 0.5),
    *,
    covered: int = 500,
    plan: Any = PLAN,
    hour: int = 50,
    **changes: Any,
) -> Assessment:
    """What follows where both comparisons have these intervals of the primary, and every guardrail holds."""
    return assess(plan, path(uplift, like, gap, covered=covered, hour=hour), **changes)


def path(
    uplift: tuple[float, float],
    like: tuple[float, float],
    gap: tuple[float, float] = (-0.5, 0.5),
    *,
    covered: int = 500,
    hour: int = 50,
) -> list[Point]:
    replayed = {"n_pairs": covered}
    return [
        point(hour, *uplift),
        guard(hour),
        point(hour, *like, comparison=LIKE, **replayed),
        guard(hour, comparison=LIKE, **replayed),
        point(hour, *gap, comparison=GAP, **replayed),
    ]


@pytest.mark.parametrize(
    ("uplift", "like", "verdict", "reason"),
    [
        (BETTER, BETTER, "variant_better", "primary_above_zero"),
        (BETTER, NOTHING, None, "replay_disagrees"),
        (BETTER, EQUAL, None, "replay_disagrees"),
        (BETTER, WORSE, None, "replay_disagrees"),
        (NOTHING, BETTER, None, "replay_disagrees"),
        (NOTHING, NOTHING, None, "primary_undecided"),
        (NOTHING, WORSE, "variant_worse", "primary_below_zero"),
        (WORSE, WORSE, "variant_worse", "primary_below_zero"),
        (WORSE, NOTHING, None, "replay_disagrees"),
        (WORSE, BETTER, None, "replay_disagrees"),
        (EQUAL, EQUAL, "equivalent", "within_equivalence_margin"),
        (EQUAL, NOTHING, None, "replay_disagrees"),
    ],
)
def test_both_comparisons_have_to_say_the_same_and_the_alarm_is_raised_like_for_like(
    uplift: tuple[float, float], like: tuple[float, float], verdict: str | None, reason: str
) -> None:
    found = both(uplift, like)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert bool(found.alarms) == (like == WORSE)
    if reason == "replay_disagrees":
        for low, high in (uplift, like):
            assert f"between {low:+.2f} and {high:+.2f} bps".replace("-", "−") in found.sentence


def test_a_guardrail_has_to_hold_like_for_like_too() -> None:
    points = [
        item for item in path(BETTER, BETTER) if (item.comparison, item.metric) != (LIKE, "slippage_bps")
    ]
    found = assess(PLAN, [*points, guard(50, -2.0, 2.0, comparison=LIKE)])
    assert (found.verdict, found.reason) == (None, "replay_disagrees")
    missing = assess(PLAN, points)
    assert (missing.verdict, missing.reason) == (None, "replay_disagrees"), (
        "no value there is no guardrail that holds"
    )


@pytest.mark.parametrize(("covered", "verdict"), [(249, "variant_better"), (250, None)])
def test_below_half_of_the_pairs_the_uplift_alone_decides_and_says_so(
    covered: int, verdict: str | None
) -> None:
    found = both(BETTER, NOTHING, covered=covered)
    assert found.verdict == verdict
    assert ("It is unknown whether the replay is true" in found.sentence) == (verdict is not None)
    if verdict:
        assert "replayed for 49.8 % of the pairs, and at least 50 % are needed" in found.sentence


def test_without_any_replay_of_the_control_the_rules_are_the_old_ones_with_a_plain_warning() -> None:
    found = assess(PLAN, [point(50, *BETTER), guard(50)])
    assert found.verdict == "variant_better"
    assert "the control was replayed for none of the pairs" in found.sentence
    assert found.evidence is not None and "replayed_control" not in found.evidence, (
        "its hash stays what it was"
    )


def test_in_limited_live_nobody_asks_whether_a_replay_is_true() -> None:
    found = assess(PLAN._replace(mode="limited_live"), [point(50, *BETTER), guard(50)])
    assert "replay" not in found.sentence


@pytest.mark.parametrize(
    ("gap", "margin", "state"),
    [
        ((-0.5, 0.5), 2.0, "faithful"),
        ((1.5, 2.5), 2.0, "not_yet"),
        ((2.1, 2.9), 2.0, "unfaithful"),
        ((-2.9, -2.1), 2.0, "unfaithful"),
        ((0.1, 0.9), None, "unfaithful"),
        ((-0.1, 0.9), None, "not_yet"),
    ],
)
def test_a_gap_is_faithful_within_its_margin_and_unfaithful_outside(
    gap: tuple[float, float], margin: float | None, state: str
) -> None:
    plan = PLAN._replace(replay_margin=margin)
    fidelity = fidelity_of(plan, both(BETTER, BETTER, gap, plan=plan).sample)
    assert fidelity is not None and fidelity.state == state


def test_a_gap_that_is_the_same_in_every_pair_needs_no_interval() -> None:
    constant = point(
        50,
        None,
        None,
        comparison=GAP,
        mean_uplift=3.0,
        se=0.0,
        ready=False,
        alarm_ci_lower=None,
        alarm_ci_upper=None,
    )
    points = [item for item in path(BETTER, BETTER) if item.comparison != GAP]
    found = assess(PLAN, [*points, constant])
    fidelity = fidelity_of(PLAN, found.sample)
    assert fidelity is not None and fidelity.state == "unfaithful"
    assert "The replay is not true" in found.sentence and "the same +3.00 bps in every pair" in found.sentence


@pytest.mark.parametrize(
    ("gap", "covered", "verdict", "reason"),
    [
        ((-0.5, 0.5), 500, "variant_better", "primary_above_zero"),
        ((1.5, 2.5), 500, "variant_better", "primary_above_zero"),
        ((2.1, 2.9), 500, None, "replay_unfaithful"),
        ((-0.5, 0.5), 200, None, "replay_unknown"),
    ],
)
def test_a_plan_that_requires_a_true_replay_keeps_better_away_where_it_is_unknown_or_unfaithful(
    gap: tuple[float, float], covered: int, verdict: str | None, reason: str
) -> None:
    found = both(BETTER, BETTER, gap, covered=covered, plan=REQUIRED)
    assert (found.verdict, found.reason) == (verdict, reason)
    ended = both(BETTER, BETTER, gap, covered=covered, plan=REQUIRED, ended=True)
    assert ended.verdict == (verdict or "inconclusive")
    assert ended.reason == reason
    worse = both(WORSE, WORSE, gap, covered=covered, plan=REQUIRED)
    assert worse.verdict == "variant_worse", "harm is told whatever the replay"


@pytest.mark.parametrize(("covered", "comparison"), [(500, LIKE), (100, "uplift")])
def test_the_detector_that_counts_is_the_one_of_the_comparison_that_is_judged(
    covered: int, comparison: str
) -> None:
    at = point(50, *NOTHING).as_of
    drifts = [Drift("edge_bps", at, 9.0, START, name) for name in (LIKE, "uplift")]
    found = first_alarms(PLAN, path(NOTHING, NOTHING, covered=covered), [], drifts)
    assert [drift.comparison for drift in found] == [comparison]


def test_the_evidence_names_what_the_replayed_control_says() -> None:
    evidence = both(BETTER, BETTER).evidence
    assert evidence is not None
    said = evidence["replayed_control"]
    assert (said["state"], said["coverage"], said["margin"]) == ("faithful", 1.0, 2.0)
    assert said[LIKE]["edge_bps"]["ci_lower"] == 0.5
    assert said[GAP]["edge_bps"]["ci_upper"] == 0.5
