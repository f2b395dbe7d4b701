"""Plans: what is accepted, what is refused and with which message, and what is frozen."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from et_pipeline.common.times import format_duration, parse_duration
from et_pipeline.contracts.plan import MAX_PLAN_BYTES, Plan, overlapping, parse_plan, read_plans
from et_pipeline.contracts.refusals import Refusal

PLAN = """\
experiment_id: line-shop-v4
title: Wider quotes on NBA props
hypothesis: Quoting one tick wider raises net edge without losing fills.
owner: strategy-pod
mode: shadow
control: {strategy_id: strat.line_shop, config_version: "3.2"}
variant: {strategy_id: strat.line_shop, config_version: "4.0-rc1"}
planned_pairs: 4000
starts_at: 2026-11-01T00:00:00Z
ends_at: 2026-12-01T00:00:00Z
time_block: 1h
matching: {method: correlation, on_no_trade: exclude}
metrics:
  - {name: edge_bps, role: primary, equivalence_margin: 2.0}
  - {name: slippage_bps, role: guardrail, non_inferiority_margin: 1.0}
  - {name: fill_ratio, role: guardrail, non_inferiority_margin: 0.02, estimator: bounded}
  - {name: latency_ms, role: secondary}
"""


def plan(text: str = PLAN) -> Plan:
    outcome = parse_plan(text.encode(), "plan.yaml")
    assert isinstance(outcome, Plan), [str(refusal) for refusal in outcome]
    return outcome


def refusals(text: str) -> list[Refusal]:
    outcome = parse_plan(text.encode(), "plan.yaml")
    assert not isinstance(outcome, Plan)
    return outcome


def test_defaults_are_those_of_the_specification() -> None:
    found = plan()
    assert found.traffic_split_pct == 10
    assert found.min_samples_for_decision == 100
    assert found.alpha == 0.05
    assert found.time_block == 3_600_000_000
    assert (found.matching.method, found.matching.on_no_trade) == ("correlation", "exclude")
    assert found.alarm_alpha == pytest.approx(0.05 / 3)
    assert found.starts_at == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("planned_pairs: 4000", "planned_pairs: four", "planned_pairs", "allowed: a whole number"),
        ("time_block: 1h", "time_block: 1 hour", "time_block", "for example 30m"),
        ("time_block: 1h", "alpha: 0.9", "alpha", "allowed: at most 0.2"),
        ("margin: 1.0", "margin: -1.0", "metrics.1.non_inferiority_margin", "allowed: above 0"),
        ("owner:", "owne:", "owne", "unknown key"),
        ("mode: shadow", "mode: prod", "mode", "'shadow' or 'limited_live'"),
        ('"3.2"', "3.2", "control.config_version", 'put it in quotes: "3.2"'),
        ("method: correlation", "method: nearest", "matching.tolerance", "required with method nearest"),
        ("2026-12-01", "2026-10-01", "ends_at", "not after starts_at"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00", "starts_at", "it has no offset"),
        ("name: edge_bps", "name: edgy", "metrics.0.name", "allowed: edge_bps"),
        (
            "role: primary, equivalence_margin: 2.0",
            "role: secondary",
            "metrics",
            "exactly one metric must have the role primary",
        ),
        (
            "name: latency_ms, role: secondary",
            "name: latency_ms, role: guardrail",
            "metrics.3.non_inferiority_margin",
            "every guardrail",
        ),
        ("name: latency_ms", "name: edge_bps", "metrics", "more than once"),
        ("equivalence_margin: 2.0", "winsor: [5, -5]", "metrics.0.winsor", "lower end first"),
        (
            "name: latency_ms, role",
            "estimator: ratio, name: latency_ms, role",
            "metrics.3.estimator",
            "does not fit",
        ),
        ("line-shop-v4", "../../etc/passwd", "experiment_id", "small letters, digits"),
        ("line-shop-v4", "index", "experiment_id", "this name is reserved"),
        ("line-shop-v4", "con", "experiment_id", "this name is reserved"),
        ("line-shop-v4", "lpt1.v2", "experiment_id", "this name is reserved"),
        ("planned_pairs: 4000", "planned_pairs: 0100", "planned_pairs", "without a leading zero"),
        ("planned_pairs: 4000", "planned_pairs: 1:00:00", "planned_pairs", "without a leading zero"),
        ("planned_pairs: 4000", "planned_pairs: 0x10", "planned_pairs", "without a leading zero"),
        ("planned_pairs: 4000", "planned_pairs: 0b11", "planned_pairs", "without a leading zero"),
        ("planned_pairs: 4000", "planned_pairs: 4_000", "planned_pairs", "without a leading zero"),
        ("margin: 1.0", "margin: 1:30.5", "metrics.1.non_inferiority_margin", "without a leading zero"),
        ("margin: 1.0", "margin: 010", "metrics.1.non_inferiority_margin", "without a leading zero"),
        ("margin: 1.0", "margin: 01.5", "metrics.1.non_inferiority_margin", "without a leading zero"),
        ("time_block: 1h", "time_block: 1:00", "time_block", "without a leading zero"),
        ("owner: strategy-pod", "owner: no", "owner", 'true or false; put it in quotes: "no"'),
        ('"3.2"', "3.10", "control.config_version", 'a number; put it in quotes: "3.10"'),
        ('"3.2"', "2026-10-01", "control.config_version", 'a date; put it in quotes: "2026-10-01"'),
        ("2026-11-01T00:00:00Z", "2026-11-01", "starts_at", "for example 2026-11-01T00:00:00Z"),
        ("on_no_trade: exclude", "on_no_trade: none", "matching.on_no_trade", "'zero' or 'assume_zero'"),
        ("time_block: 1h", "traffic_split_pct: 101", "traffic_split_pct", "100"),
        ("time_block: 1h", "traffic_split_pct: -1", "traffic_split_pct", "0"),
    ],
)
def test_refusals_name_the_key_and_what_is_allowed(old: str, new: str, key: str, says: str) -> None:
    found = refusals(PLAN.replace(old, new, 1))
    messages = [str(refusal) for refusal in found]
    assert any(refusal.key == key and says in refusal.sentence for refusal in found), messages
    assert all(message.startswith("plan.yaml") for message in messages)


UNBOUNDED = PLAN.replace(", estimator: bounded", "")
WITHOUT_MATCHING = UNBOUNDED.replace("matching: {method: correlation, on_no_trade: exclude}\n", "")


def test_limited_live_compares_all_trades_where_the_plan_says_nothing_else() -> None:
    assert PLAN != UNBOUNDED != WITHOUT_MATCHING
    live = plan(WITHOUT_MATCHING.replace("mode: shadow", "mode: limited_live"))
    assert (live.matching.method, live.matching.tolerance) == ("arms", 60_000_000)
    assert plan(WITHOUT_MATCHING).matching == plan(PLAN).matching


def test_comparing_all_trades_is_for_limited_live_and_needs_a_tolerance_and_no_bounds() -> None:
    arms = UNBOUNDED.replace("method: correlation", "method: arms, tolerance: 5s")
    [refusal] = refusals(arms)
    assert "arms is only for limited_live" in refusal.sentence
    live = arms.replace("mode: shadow", "mode: limited_live")
    assert plan(live).matching.method == "arms"
    [refusal] = refusals(live.replace(", tolerance: 5s", ""))
    assert refusal.key == "matching.tolerance"
    [refusal] = refusals(live.replace("name: latency_ms", "estimator: bounded, name: latency_ms"))
    assert (refusal.key, "needs pairs" in refusal.sentence) == ("metrics", True)


@pytest.mark.parametrize("counted", ["zero", "assume_zero"])
def test_in_limited_live_the_variant_is_not_asked_so_nothing_counts_as_a_pass(counted: str) -> None:
    text = PLAN.replace("on_no_trade: exclude", f"on_no_trade: {counted}")
    assert plan(text).matching.on_no_trade == counted
    [refusal] = refusals(text.replace("mode: shadow", "mode: limited_live"))
    assert refusal.key == "matching"
    assert f"on_no_trade {counted} is only for shadow" in refusal.sentence
    assert "allowed: exclude" in refusal.sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a list", "a plan must be a mapping"),
        ("a: [1", "not readable as YAML: the bracket that opens in line 1 is not closed"),
        ("a: 1\nb: {c: 1\nd: 2\n", "the bracket that opens in line 2 is not closed, or a comma is missing"),
        ("a: 1\n\tb: 2\n", "line 2 begins with a tab; use spaces"),
        ("a: 'one\nb: 2\n", "the quote that opens in line 1 is not closed"),
        ("owner: a: b\n", "line 1 (owner: a: b); lines of one level must begin in the same column"),
        ("a: 1\n   b: 2\n", "line 2 (b: 2)"),
        ("a: &x 1\nb: *x", "aliases"),
        ("a: 1\na: 2", "more than once"),
        ("[" * 5000, "not readable as YAML"),
        ("a: " + "x" * MAX_PLAN_BYTES, "larger than"),
    ],
)
def test_files_that_are_no_plan(text: str, says: str) -> None:
    assert says in refusals(text)[0].sentence


@given(number=st.floats(0.25, 1e6) | st.integers(2, 10**9), data=st.data())
def test_a_number_is_what_people_read_or_it_is_refused(number: float, data: st.DataObject) -> None:
    """Every way in which YAML 1.1 writes a number, of which only the decimal one is a person's."""
    forms = [repr(number)]
    if isinstance(number, int):
        forms += [
            f"0{number:o}",
            f"0x{number:x}",
            f"0b{number:b}",
            f"{number:_}",
            f"0{number}",
            f"{number}:00",
        ]
    text = data.draw(st.sampled_from(forms))
    outcome = parse_plan(PLAN.replace("margin: 1.0", f"margin: {text}").encode(), "plan.yaml")
    if isinstance(outcome, Plan):
        assert outcome.guardrails[0].non_inferiority_margin == number
    else:
        assert text != forms[0]
        assert outcome[0].key == "metrics.1.non_inferiority_margin"
        assert text in outcome[0].value


def test_every_name_but_those_of_pages_and_devices_may_be_an_experiment() -> None:
    for name in ("indexes", "index.v2", "console", "com", "com10", "aux-2"):
        assert plan(PLAN.replace("line-shop-v4", name)).experiment_id == name


def test_not_utf8_is_refused() -> None:
    outcome = parse_plan(b"title: \xff", "plan.yaml")
    assert isinstance(outcome, list)
    assert "not readable as YAML" in outcome[0].sentence


def test_a_sentence_may_hold_a_colon() -> None:
    found = plan(PLAN.replace("Quoting one tick wider raises", "One toss a day: no difference; raises"))
    assert found.hypothesis.startswith("One toss a day: no difference")


def test_open_keys_do_not_change_the_hash() -> None:
    amended = PLAN.replace("Wider quotes", "Wide quotes").replace("2026-12-01", "2026-11-20")
    assert plan(amended).plan_hash == plan().plan_hash
    assert (
        plan(PLAN.replace("role: secondary", "role: guardrail, non_inferiority_margin: 9")).plan_hash
        != plan().plan_hash
    )
    assert plan(PLAN.replace("raises net edge", "lowers net edge")).plan_hash != plan().plan_hash


def test_two_files_with_one_id_are_both_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(PLAN)
    (tmp_path / "c.yaml").write_text(PLAN.replace("line-shop-v4", "other"))
    plans, problems = read_plans(tmp_path)
    assert list(plans) == ["c.yaml"]
    assert {(problem.path, problem.key) for problem in problems} == {
        ("a.yaml", "experiment_id"),
        ("b.yaml", "experiment_id"),
    }


def test_a_file_that_looks_like_a_plan_and_is_not_read_is_told(tmp_path: Path) -> None:
    for name in ("a.yaml", "Upper.YAML", "sub/inner.yaml", ".git/x.yml", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PLAN)
    plans, problems = read_plans(tmp_path)
    assert list(plans) == ["a.yaml"]
    assert [problem.path for problem in problems] == ["Upper.YAML", "sub/inner.yaml"]
    assert all("directly in the folder of experiments" in problem.sentence for problem in problems)


def test_overlap_is_about_variant_and_time() -> None:
    here = plan()
    same = plan(PLAN.replace("line-shop-v4", "second"))
    later = plan(
        PLAN.replace("line-shop-v4", "third")
        .replace("2026-12-01", "2027-01-01")
        .replace("2026-11-01", "2026-12-01")
    )
    other = plan(PLAN.replace("line-shop-v4", "fourth").replace("4.0-rc1", "5.0"))
    assert overlapping(same, [here]) is here
    assert overlapping(later, [here]) is None
    assert overlapping(other, [here]) is None


@given(st.integers(1, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_durations_round_trip(number: int, unit: str) -> None:
    microseconds = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(microseconds)) == microseconds


@given(st.text(max_size=400))
def test_no_text_crashes_the_reader(text: str) -> None:
    outcome = parse_plan(text.encode("utf-8", "surrogatepass"), "plan.yaml")
    assert isinstance(outcome, Plan) or outcome


@given(
    st.dictionaries(
        st.sampled_from([*Plan.model_fields, "x"]),
        st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers())),
    )
)
def test_no_mapping_crashes_the_reader(document: dict[str, object]) -> None:
    import json

    assert not isinstance(parse_plan(json.dumps(document).encode(), "plan.yaml"), Plan)


def test_max_missing_is_frozen_and_its_default_leaves_older_hashes_alone():
    assert "max_missing" not in plan().frozen
    assert plan().plan_hash == plan(PLAN + "\nmax_missing: 0.05\n").plan_hash
    stricter = plan(PLAN + "\nmax_missing: 0\n")
    assert stricter.frozen["max_missing"] == 0.0
    assert stricter.plan_hash != plan().plan_hash


@pytest.mark.parametrize("value", ["1", "-0.01", "1.5", "often"])
def test_max_missing_is_a_share_below_one(value):
    (refusal,) = refusals(PLAN + f"\nmax_missing: {value}\n")
    assert refusal.key == "max_missing"
    assert value.strip("-") in refusal.value


def test_breakdowns_are_frozen_and_their_default_leaves_older_hashes_alone():
    assert plan().breakdowns == ()
    assert {"breakdowns", "market_groups"}.isdisjoint(plan().frozen)
    asked = plan(PLAN + 'breakdowns: [side, label.desk, market]\nmarket_groups: {nba: "nba-*"}\n')
    assert asked.frozen["breakdowns"] == ["side", "label.desk", "market"]
    assert asked.frozen["market_groups"] == {"nba": "nba-*"}
    assert asked.plan_hash != plan().plan_hash


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("breakdowns: [price]", "allowed: side, outcome_id, hour, market"),
        ("breakdowns: ['label.; DROP TABLE reports']", "allowed: side, outcome_id, hour, market"),
        ("breakdowns: [side, side]", "listed more than once"),
        ("breakdowns: [market]", "required with the breakdown market"),
        (
            "breakdowns: [side]\nmarket_groups: {nba: nba}",
            "required with the breakdown market, and allowed only there",
        ),
        ("breakdowns: [market]\nmarket_groups: {nba: '*a*b*c*'}", "at most three"),
        (f"breakdowns: {['label.l' + str(number) for number in range(11)]}", "at most 10"),
    ],
)
def test_a_breakdown_that_cannot_be_made_is_refused(text: str, says: str):
    assert any(says in str(refusal) for refusal in refusals(PLAN + text + "\n"))
