"""The verdict rules against cases worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.contracts.plan import content_hash
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.governance.terms import Drift, Gap, Point, Replays
from et_pipeline.governance.verdict import assess, first_alarms

START = datetime(2026, 11, 1)
PLAN = RegisteredExperiment(
    experiment_id="line-shop",
    plan_hash="0" * 64,
    title="Line shop",
    owner="pod",
    mode="shadow",
    control_strategy_id="line-shop-3",
    control_config_version=None,
    variant_strategy_id="line-shop-4",
    variant_config_version=None,
    traffic_split_pct=10.0,
    min_samples_for_decision=100,
    planned_pairs=500,
    planned_blocks=240,
    expected_clusters=50.0,
    starts_at=START,
    ends_at=START + timedelta(days=10),
    registered_at=START,
    time_block_us=3_600_000_000,
    matching="correlation",
    tolerance_us=None,
    on_no_trade="exclude",
    alpha=0.05,
    boundary="mixture",
    alarm_alpha=0.025,
    g=0.01,
    max_missing=0.05,
    request_review=False,
    approvers=1,
    allow_self_approval=False,
    replay_required=False,
    follows=None,
    replay_margin=2.0,
    plan="{}",
    metrics=(
        MetricTerms("edge_bps", "primary", "mean", None, 2.0, None, None),
        MetricTerms("slippage_bps", "guardrail", "mean", 1.0, None, None, None),
        MetricTerms("latency_ms", "secondary", "mean", None, None, None, None),
    ),
)


def point(hour: int, low: float | None, high: float | None, metric: str = "edge_bps", **changes) -> Point:
    """One interval; the alarm's is 0.1 wider on both sides."""
    known = {
        "metric": metric,
        "as_of": START + timedelta(hours=hour),
        "n_pairs": 500,
        "effective_clusters": 20.0,
        "n_markets": 30,
        "n_blocks": hour,
        "mean_uplift": None if low is None else (low + high) / 2,
        "se": None if low is None else (high - low) / 6,
        "ci_lower": low,
        "ci_upper": high,
        "e_value": 30.0,
        "p_value": 0.01,
        "alarm_ci_lower": None if low is None else low - 0.1,
        "alarm_ci_upper": None if high is None else high + 0.1,
        "autocorrelation": 0.1,
        "ready": True,
        "closed": True,
        "method": "two-way",
    }
    return Point(**{**known, **changes})


def guard(hour: int, low: float = -0.5, high: float = 0.5, **changes) -> Point:
    return point(hour, low, high, "slippage_bps", **changes)


@pytest.mark.parametrize(
    ("edge", "slippage", "verdict", "reason"),
    [
        ((0.5, 2.5), (-0.5, 0.5), "variant_better", "primary_above_zero"),
        ((0.0, 2.5), (-0.5, 0.5), None, "primary_undecided"),
        ((0.5, 2.5), (-1.0, 0.5), None, "guardrail_undecided"),
        ((0.5, 2.5), (-3.0, -1.2), "variant_worse", "guardrail_below_margin"),
        ((0.5, 2.5), (-3.0, -1.1), None, "guardrail_undecided"),
        ((-2.5, -0.2), (-0.5, 0.5), "variant_worse", "primary_below_zero"),
        ((-2.5, -0.1), (-0.5, 0.5), None, "primary_undecided"),
        ((-1.5, 1.5), (-9.0, 9.0), "equivalent", "within_equivalence_margin"),
        ((-1.5, 2.0), (-0.5, 0.5), None, "primary_undecided"),
        ((-2.0, 1.5), (-0.5, 0.5), None, "primary_undecided"),
        ((0.1, 1.9), (-0.5, 0.5), "variant_better", "primary_above_zero"),
        ((0.1, 1.9), (-5.0, 5.0), "equivalent", "within_equivalence_margin"),
        ((-1.9, -0.5), (-0.5, 0.5), "variant_worse", "primary_below_zero"),
        ((float("nan"), float("nan")), (-0.5, 0.5), None, "primary_undecided"),
        ((float("-inf"), float("inf")), (-0.5, 0.5), None, "primary_undecided"),
    ],
)
def test_verdict_of_one_moment(edge, slippage, verdict, reason):
    found = assess(PLAN, [point(5, *edge), guard(5, *slippage)])
    assert (found.verdict, found.reason) == (verdict, reason)
    assert (found.evidence is None) == (verdict is None)
    assert (found.missing == ()) == (verdict is not None)
    assert found.sentence


@pytest.mark.parametrize(
    ("change", "condition", "further"),
    [
        ({"n_pairs": 99}, "too_few_pairs", 1),
        ({"effective_clusters": 9.99}, "too_few_clusters", 1),
        ({"effective_clusters": 5.0}, "too_few_clusters", 500),
        ({"autocorrelation": 0.95, "ready": False}, "longer_time_block_needed", None),
        ({"ready": False}, "no_spread", None),
    ],
)
@pytest.mark.parametrize("metric", ["edge_bps", "slippage_bps"])
def test_an_unhealthy_sample_decides_nothing(change, condition, further, metric):
    points = [point(5, 0.5, 2.5), guard(5)]
    at = 0 if metric == "edge_bps" else 1
    points[at] = points[at]._replace(**change)
    found = assess(PLAN, points)
    assert found.verdict is None
    assert (found.missing[0].condition, found.missing[0].metric) == (condition, metric)
    if further is not None:
        assert found.missing[0].further_pairs == further


def test_an_unhealthy_guardrail_does_not_hide_a_losing_primary():
    found = assess(PLAN, [point(5, -3.0, -1.0), guard(5, n_pairs=3)])
    assert found.verdict == "variant_worse"


def test_the_minimum_itself_is_enough():
    found = assess(PLAN, [point(5, 0.5, 2.5, n_pairs=100, effective_clusters=10.0), guard(5)])
    assert found.verdict == "variant_better"


def test_the_first_verdict_along_the_path_stands():
    path = [
        point(4, -1, 3.0),
        guard(4),
        point(5, 0.2, 2.8),
        guard(5),
        point(6, -3.0, -1.0),
        guard(6),
    ]
    found = assess(PLAN, path)
    assert found.verdict == "variant_better"
    assert found.decided_as_of == START + timedelta(hours=5)
    assert found.points["edge_bps"].ci_lower == 0.2
    assert [(alarm.trigger, alarm.point.as_of) for alarm in found.alarms] == [
        ("interval", START + timedelta(hours=6))
    ]


def test_a_guardrail_without_new_pairs_counts_as_it_stood():
    found = assess(PLAN, [guard(3), point(5, 0.5, 2.5)])
    assert found.verdict == "variant_better"
    assert found.decided_as_of == START + timedelta(hours=5)


def test_an_open_block_counts_only_at_the_end():
    path = [point(5, 0.5, 2.5, closed=False), guard(5, closed=False)]
    assert assess(PLAN, path).missing[0].condition == "too_few_pairs"
    assert assess(PLAN, path, ended=True).verdict == "variant_better"


def test_an_end_without_a_verdict_is_inconclusive():
    found = assess(PLAN, [point(5, -1, 3.0), guard(5)], ended=True)
    assert (found.verdict, found.decided_as_of) == ("inconclusive", PLAN.ends_at)
    assert "does not show that there is no difference" in found.sentence
    assert found.missing[0].condition == "primary_undecided"


def test_no_pair_at_all_concludes_nothing_at_the_end_unless_it_was_announced_so():
    found = assess(PLAN, [], ended=True)
    assert (found.verdict, found.reason, found.missing[0].condition) == (None, "no_pairs", "no_pairs")
    found = assess(PLAN, [], ended=True, without_pairs=True)
    assert found.verdict == "inconclusive"
    assert found.evidence is not None
    assert found.evidence["metrics"] == {}


def test_a_sample_ratio_alarm_stops_verdicts_from_then_on_only():
    path = [point(5, 0.5, 2.5), guard(5)]
    before = assess(PLAN, path, sample_ratio_alarm=START + timedelta(hours=6))
    at = assess(PLAN, path, sample_ratio_alarm=START + timedelta(hours=5))
    assert before.verdict == "variant_better"
    assert (at.verdict, at.missing[0].condition, at.alarms) == (None, "sample_ratio_alarm", ())


def test_the_guardrails_alarm_uses_the_wider_interval():
    """ci_upper −1.05 is below the margin, but at the alarm's alpha it is −0.95."""
    found = assess(PLAN, [point(5, -1, 3.0), guard(5, -3.0, -1.05)])
    assert found.verdict is None
    assert found.alarms == ()


def test_sentences_name_figures_and_confidence():
    better = assess(PLAN, [point(5, 0.5, 2.5), guard(5)]).sentence
    assert "between +0.50 and +2.50 bps per pair (95 % confidence" in better
    assert "500 matched pairs (effective sample size 20)" in better
    worse = assess(PLAN, [point(5, 0.5, 2.5), guard(5, -4, -2)]).sentence
    assert "slippage_bps is worse than the control's by more than the 1 bps that the plan allows" in worse
    assert "97.5 % confidence" in worse
    equal = assess(PLAN, [point(5, -1.5, 1.5), guard(5)]).sentence
    assert "The plan counts ±2 bps as equal." in equal


def test_evidence_carries_method_tuning_clusters_and_e_value():
    found = assess(PLAN, [point(5, 0.5, 2.5), guard(5)])
    evidence = found.evidence
    assert evidence is not None
    assert evidence["tuning"] == 0.01
    primary = evidence["metrics"]["edge_bps"]
    assert (primary["method"], primary["e_value"], primary["effective_clusters"]) == ("two-way", 30.0, 20.0)
    assert evidence["metrics"]["slippage_bps"]["non_inferiority_margin"] == 1.0


def test_evidence_does_not_hang_on_the_order_of_sums():
    path = [point(5, 0.1 + 0.2, 2.5), guard(5)]
    other = [point(5, 0.3, 2.5), guard(5)]
    assert path != other
    assert content_hash(assess(PLAN, path).evidence) == content_hash(assess(PLAN, other).evidence)


@given(
    st.lists(
        st.tuples(st.floats(-4, 4), st.floats(0.1, 4), st.floats(-4, 4), st.floats(0.1, 4), st.booleans()),
        max_size=12,
    )
)
def test_a_longer_path_never_changes_a_verdict(steps):
    """The verdict is the first one along the path, so what comes later cannot change it."""
    path: list[Point] = []
    decided = None
    for hour, (edge, width, slip, slip_width, closed) in enumerate(steps):
        path += [
            point(hour, edge - width, edge + width, closed=closed),
            guard(hour, slip - slip_width, slip + slip_width, closed=closed),
        ]
        found = assess(PLAN, path)
        if decided is not None:
            assert (found.verdict, found.decided_as_of, found.evidence) == decided
        elif found.verdict is not None:
            decided = (found.verdict, found.decided_as_of, found.evidence)


def gap(hour: int, pairs: int, metric: str = "edge_bps") -> Gap:
    return Gap(START + timedelta(hours=hour), metric, pairs, 0, pairs)


MOST = 26  # of 500 pairs with a value: 5 % of 526 are 26.3


@pytest.mark.parametrize(
    ("edge", "slippage", "metric", "verdict", "reason"),
    [
        ((0.5, 2.5), (-0.5, 0.5), "edge_bps", None, "values_missing"),
        ((-2.5, -0.2), (-0.5, 0.5), "edge_bps", None, "values_missing"),
        ((-1.5, 1.5), (-0.5, 0.5), "edge_bps", None, "values_missing"),
        ((0.5, 2.5), (-0.5, 0.5), "slippage_bps", None, "values_missing"),
        ((0.5, 2.5), (-3.0, -1.2), "slippage_bps", None, "values_missing"),
        ((-2.5, -0.2), (-0.5, 0.5), "slippage_bps", "variant_worse", "primary_below_zero"),
        ((-1.5, 1.5), (-0.5, 0.5), "slippage_bps", "equivalent", "within_equivalence_margin"),
        ((0.5, 2.5), (-3.0, -1.2), "edge_bps", "variant_worse", "guardrail_below_margin"),
        ((0.5, 2.5), (-0.5, 0.5), "latency_ms", "variant_better", "primary_above_zero"),
    ],
)
def test_nothing_is_concluded_about_a_metric_that_too_many_pairs_lack(
    edge, slippage, metric, verdict, reason
):
    path = [point(5, *edge), guard(5, *slippage), point(5, -1, 1, "latency_ms")]
    found = assess(PLAN, path, gaps=[gap(5, MOST + 1, metric)])
    assert (found.verdict, found.reason) == (verdict, reason)
    assert metric not in {alarm.point.metric for alarm in found.alarms}
    if verdict is None:
        assert (found.missing[0].condition, found.missing[0].metric) == ("values_missing", metric)
        assert f"27 of 527 pairs (5.12 %) have no value of {metric}" in found.sentence


def test_as_many_gaps_as_the_plan_allows_hold_nothing_back_and_are_in_the_evidence():
    path = [point(5, 0.5, 2.5), guard(5)]
    found = assess(PLAN, path, gaps=[gap(5, MOST)])
    assert found.verdict == "variant_better"
    assert found.evidence is not None
    assert found.evidence["metrics"]["edge_bps"]["missing_pairs"] == MOST
    assert "missing_pairs" not in found.evidence["metrics"]["slippage_bps"]
    assert assess(PLAN._replace(max_missing=0.0), path, gaps=[gap(5, 1)]).verdict is None


def test_gaps_count_from_their_block_on_and_the_first_verdict_stands():
    path = [point(4, 0.5, 2.5), guard(4), point(8, 0.5, 2.5), guard(8)]
    assert assess(PLAN, path, gaps=[gap(6, 400)]).decided_as_of == START + timedelta(hours=4)
    late = assess(PLAN, path, gaps=[gap(3, 400), gap(6, 1)])
    assert (late.verdict, late.sample.missing("edge_bps").pairs) == (None, 401)


def test_gaps_after_the_last_value_count_where_the_metric_has_no_row_of_its_own():
    """The primary stops being reported; the guardrail's path goes on, and so do the gaps."""
    path = [guard(4), point(4, -1.0, 2.5), guard(8)]
    assert assess(PLAN, path, gaps=[gap(7, 400)]).reason == "values_missing"
    assert assess(PLAN, [], gaps=[gap(7, 400)], ended=True).reason == "values_missing"


def test_an_end_with_too_many_gaps_is_inconclusive_for_that_reason():
    found = assess(PLAN, [point(5, 0.5, 2.5), guard(5)], gaps=[gap(5, 200)], ended=True)
    assert (found.verdict, found.reason) == ("inconclusive", "values_missing")
    assert "nothing is concluded about edge_bps" in found.sentence


def test_the_change_detector_is_believed_only_where_the_values_are_there():
    early, later = (Drift("edge_bps", START + timedelta(hours=hour), 5.0, None) for hour in (4, 9))
    path = [point(4, -1, 1, n_pairs=100), point(9, -1, 1, n_pairs=900)]
    assert first_alarms(PLAN, path, [gap(2, 20)], [early, later]) == [later]
    assert first_alarms(PLAN, path, [gap(5, 20)], [early, later]) == [early]
    assert first_alarms(PLAN, path, [gap(2, 200)], [early, later]) == []


def said(hour: int, opportunities: int, *, passed: int = 0, assumed: int = 0, missing: int = 0) -> Replays:
    return Replays(START + timedelta(hours=hour), opportunities, passed, assumed, missing)


BETTER = [point(5, 0.5, 2.5), guard(5)]
ZERO = PLAN._replace(on_no_trade="zero")


def test_above_a_tenth_of_missing_replays_nothing_is_concluded():
    """Neither better nor worse nor an alarm, whatever the intervals say; at the end it is the reason."""
    worse = [point(5, -3.0, -1.0), guard(5)]
    for path in (BETTER, worse):
        held = assess(ZERO, path, replays=[said(5, 1000, passed=100, missing=101)])
        assert (held.verdict, held.reason, held.alarms) == (None, "replays_missing", ())
        assert "101 of the 1,000 opportunities that the control traded (10.1" in held.sentence
        assert assess(ZERO, path, replays=[said(5, 1000, missing=100)]).verdict is not None
        over = assess(ZERO, path, replays=[said(5, 1000, missing=101)], ended=True)
        assert (over.verdict, over.reason) == ("inconclusive", "replays_missing")
        assert assess(PLAN, path, replays=[said(5, 1000, missing=900)]).verdict is not None
    drift = Drift("edge_bps", START + timedelta(hours=5), 9.0, None)
    assert first_alarms(ZERO, worse, [], [drift], [said(5, 1000, missing=101)]) == []
    assert first_alarms(ZERO, worse, [], [drift], [said(5, 1000, missing=100)]) == [drift]


def test_the_replays_up_to_a_look_count_for_it():
    """What is missing later holds nothing back, and what is missing earlier does until enough came."""
    path = [*BETTER, point(6, 0.5, 2.5), guard(6)]
    late = assess(ZERO, path, replays=[said(4, 500), said(6, 1000, missing=500)])
    assert late.decided_as_of == START + timedelta(hours=5)
    early = assess(ZERO, path, replays=[said(5, 500, missing=100), said(6, 1000, missing=100)])
    assert early.decided_as_of == START + timedelta(hours=6)
    assert early.evidence["replays"]["missing"] == 100


def test_a_verdict_says_of_which_opportunities_it_speaks():
    whole = assess(PLAN, BETTER, replays=[said(5, 900)])
    assert (whole.sentence, whole.evidence) == (
        assess(PLAN, BETTER).sentence,
        assess(PLAN, BETTER).evidence,
    )
    some = assess(PLAN, BETTER, replays=[said(5, 900, missing=400)]).sentence
    assert (
        "The control traded 900 opportunities; the figures are about the 500 that both arms traded." in some
    )
    told = assess(PLAN, BETTER, replays=[said(5, 900, passed=100, missing=300)]).sentence
    assert "500 that both arms traded. On 100 the variant reported that it passed. 300 have no report" in told
    assumed = assess(
        PLAN._replace(on_no_trade="assume_zero"), BETTER, replays=[said(5, 900, passed=10, assumed=200)]
    )
    assert "200 passes of the variant are assumed: it sent no report of these" in assumed.sentence
    assert assumed.evidence["replays"]["assumed"] == 200


LOOKS = PLAN._replace(boundary="horizon")


def at_look(hour: int, low: float | None, high: float | None, metric: str = "edge_bps", **changes) -> Point:
    """An interval at a look of a plan with 60 of them, four hours apart."""
    following = START + timedelta(hours=4 * max(hour // 4 + 1, 12))
    known = {"look": hour // 4, "looks": 60, "next_look_at": following, "degrees_of_freedom": 40.0}
    return point(hour, low, high, metric, **known | {"carried": hour % 4 != 0} | changes)


def test_a_verdict_falls_at_a_look_and_not_between_two():
    """The pairs pass the plan's minimum after the look: the next look decides."""
    guards = [at_look(hour, -0.5, 0.5, "slippage_bps") for hour in (48, 49, 50, 51, 52)]
    edges = [at_look(48, 0.5, 2.5, n_pairs=99), *(at_look(hour, 0.5, 2.5) for hour in (49, 50, 51, 52))]
    path = sorted(edges + guards, key=lambda item: item.as_of)
    assert assess(LOOKS, path[:8]).verdict is None
    outcome = assess(LOOKS, path)
    assert (outcome.verdict, outcome.decided_as_of) == ("variant_better", START + timedelta(hours=52))
    assert "95 % confidence; valid at all 60 looks of the plan" in outcome.sentence


def test_between_looks_no_alarm_is_raised():
    assert assess(LOOKS, [at_look(49, -2.5, -0.5)]).alarms == ()
    assert [alarm.trigger for alarm in assess(LOOKS, [at_look(52, -2.5, -0.5)]).alarms] == ["interval"]


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({"n_blocks": 29}, "too_few_blocks"),
        ({"n_blocks": 40}, "waits_for_look"),
        ({"n_blocks": 29, "n_pairs": 99}, "too_few_pairs"),
    ],
)
def test_what_is_missing_before_an_interval_is_told_with_the_next_look(change, condition):
    early = [at_look(40, None, None, name, mean_uplift=1.0, se=0.5, ready=False, **change)
             for name in ("edge_bps", "slippage_bps")]  # fmt: skip
    outcome = assess(LOOKS, early)
    assert outcome.reason == condition
    assert outcome.sentence.endswith("The next of the plan's 60 looks is at 2026-11-03 00:00 UTC.")


def test_evidence_of_looks_says_which_and_that_of_others_stays_what_it_was():
    guards = at_look(52, -0.5, 0.5, "slippage_bps")
    of_looks = assess(LOOKS, [at_look(52, 0.5, 2.5), guards]).evidence
    assert of_looks is not None and of_looks["boundary"] == "horizon"
    figures = of_looks["metrics"]["edge_bps"]
    assert (figures["look"], figures["looks"], figures["carried"]) == (13, 60, False)
    always = assess(PLAN, [point(5, 0.5, 2.5), guard(5)]).evidence
    assert always is not None
    assert "boundary" not in always
    assert not {"look", "looks", "carried", "degrees_of_freedom", "next_look_at"} & set(
        always["metrics"]["edge_bps"]
    )
