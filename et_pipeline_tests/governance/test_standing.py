"""The judge: what it stores beside a verdict follows from the same conditions as the verdict."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.governance.judgement import NOT_LOOKED_AT, Judgement, dumps, loads
from et_pipeline.governance.sign_offs import split_evidence
from et_pipeline.governance.standing import judge
from et_pipeline.governance.terms import Gap
from et_pipeline.governance.verdict import assess
from et_pipeline_tests.governance.test_verdict import PLAN, START, guard, point


def judged(path, *, gaps=(), ended=False, failing=()) -> Judgement:
    found = assess(PLAN, path, gaps=gaps, ended=ended)
    return judge(
        PLAN,
        found,
        state="concluded" if found.verdict else "sampling",
        reason=found.reason,
        decided=found.verdict is not None,
        closed_until=None,
        sample_ratio=None,
        split_approved=False,
        failing=failing,
    )


ENDS = st.tuples(st.floats(-5, 5), st.floats(0.1, 4))


@given(
    ENDS,
    ENDS,
    st.integers(80, 500),
    st.floats(8, 30),
    st.booleans(),
    st.integers(0, 60),
    st.sampled_from(["edge_bps", "slippage_bps"]),
    st.booleans(),
)
def test_the_checklist_is_met_exactly_where_the_verdict_took_it_as_met(
    edge, slip, n_pairs, clusters, ready, lacking, metric, ended
):
    health = {"n_pairs": n_pairs, "effective_clusters": clusters, "ready": ready}
    path = [
        point(5, edge[0] - edge[1], edge[0] + edge[1], **health),
        guard(5, slip[0] - slip[1], slip[0] + slip[1], **health),
    ]
    gaps = [Gap(START + timedelta(hours=5), metric, lacking, 0, lacking)]
    verdict = assess(PLAN, path, gaps=gaps, ended=ended).verdict
    found = judged(path, gaps=gaps, ended=ended)
    tones = {standing.name: standing.tone for standing in found.standings if standing.role != "secondary"}
    says = {standing.name: standing.says for standing in found.standings}
    if verdict == "variant_better":
        assert set(tones.values()) == {"good"}
        assert {condition.word for condition in found.conditions} == {"met"}
    if verdict == "variant_worse":
        assert "below zero" in says.values() or "beyond its margin" in says.values()
    if verdict == "equivalent":
        assert says["edge_bps"] == "within the equivalence margin" or tones["edge_bps"] == "good"
    if verdict in (None, "inconclusive"):
        assert {condition.word for condition in found.conditions} != {"met"}
        assert set(tones.values()) != {"good"}


def test_what_is_stored_is_what_is_shown():
    found = judged([point(5, 0.5, 2.5, p_value=float("nan"), e_value=float("inf")), guard(5)])
    assert found.standings[0].point["p_value"] is None
    assert loads(dumps(found)) == found
    assert loads(None) == NOT_LOOKED_AT


@pytest.mark.parametrize(
    ("mean", "word"), [(0.0, "met"), (0.4, "met"), (-0.9, "met"), (-1.0, "not yet"), (-3.0, "not yet")]
)
def test_a_guardrail_without_spread_holds_within_its_margin_only(mean, word):
    flat = guard(5, mean, mean, se=0.0, ready=False)
    found = assess(PLAN, [point(5, 0.5, 2.5), flat])
    (line,) = [item for item in judged([point(5, 0.5, 2.5), flat]).conditions if "slippage_bps" in item.label]
    assert line.word == word
    assert found.verdict == ("variant_better" if word == "met" else None)
    assert "About 0" not in found.sentence


def test_a_primary_without_spread_is_equivalent_within_its_margin():
    flat = point(5, 0.25, 0.25, se=0.0, ready=False)
    found = assess(PLAN, [flat, guard(5, -9, 9)])
    assert found.verdict == "equivalent"
    assert "the same +0.25 bps in every pair" in found.sentence
    far = assess(PLAN, [point(5, 3.0, 3.0, se=0.0, ready=False), guard(5)])
    assert (far.verdict, far.reason) == (None, "no_spread")
    assert "differs by the same +3.00 bps in every pair" in far.sentence


def test_few_pairs_without_spread_say_nothing():
    found = assess(PLAN, [point(5, 0.0, 0.0, se=0.0, ready=False, n_pairs=99), guard(5)])
    assert (found.verdict, found.reason) == (None, "too_few_pairs")


def test_a_bounded_guardrail_without_spread_names_no_number_of_pairs():
    found = assess(PLAN, [point(5, 0.5, 2.5), guard(5, -1.2, 1.2, se=0.0, mean_uplift=0.0)])
    assert found.reason == "guardrail_undecided"
    assert found.missing[0].further_pairs is None
    assert "more pairs" not in found.sentence


@pytest.mark.parametrize(
    "failing",
    ["unmatched", "values_missing", "longer_time_block_needed", "sample_ratio_alarm", "change_refused"],
)
def test_there_is_something_to_do_where_a_check_fails(failing):
    path = [point(5, -1.0, 2.5), guard(5)]
    assert "Nothing to do" in judged(path).next_step
    assert "Nothing to do" not in judged(path, failing={failing}).next_step


def test_a_large_split_is_met_once_a_human_approved_it(world):
    world.person("anna")
    world.write_plan(traffic_split_pct=80)

    def word() -> str:
        conditions = loads(world.verdict()["standing"]).conditions
        (split,) = [item for item in conditions if item.label == "Split signed off"]
        return split.word

    world.tick()
    assert word() == "not yet"
    world.sign("anna", purpose="split", evidence_hash=split_evidence("line-shop", 80.0))
    world.tick(hours=1)
    assert (world.state(), word()) == ("sampling", "met")
    world.interval(5, -3.0, 3.0)
    world.tick(hours=24 * 11)
    assert (world.state(), word()) == ("concluded", "met")


def test_a_large_split_that_nobody_approved_is_not_met_at_the_end_either(world):
    world.write_plan(traffic_split_pct=80)
    world.tick()
    world.tick(hours=24 * 11)
    conditions = loads(world.verdict()["standing"]).conditions
    assert [item.word for item in conditions if item.label == "Split signed off"] == ["not yet"]
