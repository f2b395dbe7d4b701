"""All experiments counted together: which discoveries stand, the sentences about them, and that the table is a pure
function."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from et_pipeline.common.sql import row_dicts
from et_pipeline.governance.portfolio import Member, family_rows, portfolio_rows, summary
from et_pipeline_tests.governance.world import START, World

DAY_US = 86_400_000_000
NOON = datetime(2026, 11, 5, 12)


def member(name: str, evidence: float = 1.0, **changes: Any) -> Member:
    figures: dict[str, Any] = {
        "family": None, "sample": False, "ends_at": NOON + timedelta(days=5), "verdict": None, "closed_until": NOON,
        "as_of": NOON, "metric": "edge_bps", "n_pairs": 500, "mean_uplift": 1.0, "se": 0.4, "ci_lower": -0.2,
        "ci_upper": 2.2, "evidence": evidence,
    }  # fmt: skip
    return Member(name, **figures | changes)


def rows_of(*members: Member) -> dict[str, dict[str, Any]]:
    found = portfolio_rows(sorted(members), delta=0.1, window_us=90 * DAY_US)
    return {row["experiment_id"]: row for row in found}


def better(name: str, evidence: float, **changes: Any) -> Member:
    return member(name, evidence, **{"verdict": "variant_better", **changes})


def test_discoveries_stand_only_against_all_that_are_counted():
    found = rows_of(
        better("a", 120.0), better("b", 60.0), better("c", 30.0), *(member(f"n{i}") for i in range(7))
    )
    assert [found[name]["stands"] for name in "abc"] == [True, True, False]
    assert [found[name]["rank"] for name in "abc"] == [1, 2, 3]
    assert [round(found[name]["threshold"], 1) for name in "abc"] == [50.0, 50.0, 33.3]
    assert found["n0"]["stands"] is False and found["n0"]["rank"] is None and found["n0"]["counted"] == 10
    assert "e-value is 30, and 33.3 is needed" in found["c"]["sentence"] and found["n0"]["sentence"] is None
    assert (
        summary(list(found.values()))
        == "3 of the 10 experiments that ran in the last 90 days have the verdict variant_better. 2 of these discoveries "
        "stand when all experiments are counted together."
    )


def test_only_a_discovery_lends_strength_to_others():
    """A share of false ones is promised for what was called better, so the rest may not carry it along."""
    found = rows_of(better("a", 15.0), member("b", 1e9), member("c", 1e9))
    assert not found["a"]["stands"] and found["b"]["stands"] is False


def test_evidence_counts_where_the_estimate_is_positive():
    found = rows_of(
        member("a", 1e6, verdict="variant_worse", mean_uplift=-3.0), member("b", 40.0, mean_uplift=None)
    )
    assert (found["a"]["e_value"], found["b"]["e_value"]) == (0.0, 0.0)


def test_who_is_counted_hangs_on_plans_alone():
    old, long = NOON - timedelta(days=91), NOON - timedelta(days=89)
    found = rows_of(
        better("old", 1e6, ends_at=old, as_of=old, closed_until=old),
        better("long", 1e6, ends_at=long, as_of=NOON - timedelta(days=200)),
        member("waits", as_of=None, closed_until=None),
        member("now"),
    )
    assert {name: row["counted"] for name, row in found.items()} == {
        "old": None,
        "long": 2,
        "waits": None,
        "now": 2,
    }
    assert (
        found["old"]["stands"] is None
        and "no longer counted together with others" in found["old"]["sentence"]
    )
    assert found["long"]["stands"] is True


def test_sample_data_are_counted_apart():
    found = rows_of(better("real", 15.0), better("s1", 1e6, sample=True), member("s2", sample=True))
    assert (found["real"]["counted"], found["s1"]["counted"]) == (1, 2)
    assert (
        summary(list(found.values()))
        == "1 of the 1 experiments that ran in the last 90 days has the verdict variant_better. 1 of these discoveries "
        "stands when all experiments are counted together."
    )


def test_a_family_is_judged_by_itself_and_its_winner_shrunk():
    family = [
        better("a", 45.0, family="f", mean_uplift=1.2),
        *(member(f"n{i}", family="f", mean_uplift=0.1 * i) for i in range(3)),
    ]
    others = [member(f"o{i}") for i in range(20)]
    found = {row["experiment_id"]: row for row in family_rows([*family, *others], delta=0.1)}
    assert set(found) == {"a", "n0", "n1", "n2"}
    assert found["a"]["counted"] == 4 and found["a"]["threshold"] == 40.0 and found["a"]["stands"]
    assert rows_of(*family, *others)["a"]["stands"] is False
    factor = 1 - 2 / ((1.2**2 + 0.1**2 + 0.2**2) / 0.4**2)
    assert found["a"]["shrunk_uplift"] == pytest.approx(1.2 * factor)


@pytest.fixture
def several(world: World) -> World:
    for number in range(6):
        world.write_plan(
            experiment_id=f"e{number}",
            variant={"strategy_id": f"variant.{number}"},
            family="widths" if number < 4 else None,
        )
    world.tick()
    return world


def table(world: World, name: str) -> list[dict[str, Any]]:
    return row_dicts(world.connection, f"FROM {name} ORDER BY experiment_id")


def test_tables_page_and_review_request_say_the_same(several: World):
    several.better(experiment_id="e1")
    several.interval(5, -1.0, 1.0, experiment_id="e2")
    several.tick(5)
    row = next(row for row in table(several, "portfolio") if row["experiment_id"] == "e1")
    assert (row["counted"], row["e_value"], row["threshold"], row["stands"]) == (2, 42.0, 20.0, True)
    assert "The discovery stands when all 2 experiments" in row["sentence"]
    [(message,)] = several.connection.execute(
        "SELECT message FROM events WHERE kind = 'promotion_review'"
    ).fetchall()
    assert row["sentence"] in message
    assert {row["experiment_id"]: row["counted"] for row in table(several, "families")} == dict.fromkeys(
        ["e0", "e1", "e2", "e3"], 2
    )


def test_the_order_in_which_experiments_are_looked_at_changes_nothing(several: World):
    for number in range(6):
        several.interval(5, -1.0 + number, 1.0 + number, experiment_id=f"e{number}")
        several.interval(5, -0.5, 0.5, metric="slippage_bps", experiment_id=f"e{number}")
    from et_pipeline.governance.decide import decide

    names = [f"e{number}" for number in range(6)]
    random.Random(1).shuffle(names)
    several.now += timedelta(hours=5)
    for name in names:
        decide(several.connection, several.settings, several.now, [name])
    one_by_one = table(several, "portfolio"), table(several, "families")
    assert sum(row["verdict"] == "variant_better" for row in one_by_one[0]) == 4
    several.connection.execute("DELETE FROM portfolio; DELETE FROM families")
    several.tick()
    assert (table(several, "portfolio"), table(several, "families")) == one_by_one


def test_the_deployments_choice_is_recorded_and_followed(several: World):
    several.better(experiment_id="e1")
    several.tick(5)
    several.settings = replace(several.settings, portfolio_delta=0.02, portfolio_window_us=30 * DAY_US)
    several.tick()
    several.tick()
    [row] = [row for row in table(several, "portfolio") if row["experiment_id"] == "e1"]
    assert (row["delta"], row["window_us"], row["threshold"], row["stands"]) == (
        0.02,
        30 * DAY_US,
        50.0,
        False,
    )
    details = several.connection.execute(
        "SELECT detail FROM audit_log WHERE action = 'portfolio_rule' ORDER BY seq"
    ).fetchall()
    assert [json.loads(detail)["rule"] for (detail,) in details] == [
        {"delta": 0.1, "window_days": 90.0},
        {"delta": 0.02, "window_days": 30.0},
    ]


def test_a_contradicted_discovery_is_none(several: World):
    several.better(experiment_id="e1")
    several.tick(5)
    several.interval(5, -2.5, 2.5, experiment_id="e1")
    several.tick()
    [row] = [row for row in table(several, "portfolio") if row["experiment_id"] == "e1"]
    assert row["stands"] is False and row["verdict"] is None


def test_a_family_has_one_control_and_one_question(several: World):
    several.write_plan(
        experiment_id="stranger",
        variant={"strategy_id": "variant.9"},
        control={"strategy_id": "other"},
        family="widths",
    )
    several.tick()
    [(key, sentence)] = several.connection.execute("SELECT key, sentence FROM plan_refusals").fetchall()
    assert key == "family" and "another control" in sentence and "e0" in sentence


def test_a_plan_cannot_change_its_family_once_it_has_begun(several: World):
    several.write_plan(experiment_id="e0", variant={"strategy_id": "variant.0"}, family="others")
    several.tick(START.hour)
    assert several.connection.execute("SELECT key FROM plan_refusals").fetchall() == [("family",)]


def test_pages_and_commands_tell_of_portfolio_and_family(several: World):
    from et_pipeline.commands.status import read_status
    from et_pipeline.insight.pages import experiment_page, family_file, family_page, index_page
    from et_pipeline.insight.read import families, fingerprints

    several.better(experiment_id="e1")
    several.interval(5, -1.0, 1.0, experiment_id="e2")
    several.tick(5)
    connection = several.connection
    [row] = [row for row in table(several, "portfolio") if row["experiment_id"] == "e1"]
    index = index_page(connection)
    assert (
        "1 of the 2 experiments that ran in the last 90 days has the verdict variant_better. 1 of these"
        in index
    )
    assert f'href="{family_file("widths")}"' in index
    page = experiment_page(connection, "e1")
    assert row["sentence"] in page and f'href="{family_file("widths")}"' in page
    assert "when all" not in experiment_page(connection, "e2") and "widths" not in experiment_page(
        connection, "e5"
    )
    side_by_side = family_page("widths", families(connection)["widths"])
    assert side_by_side.index(">e1<") < side_by_side.index(">e2<") < side_by_side.index(">e0<")
    assert "with 2 variants counted" in side_by_side
    told = {row["experiment_id"]: row for row in read_status(connection)}
    assert (
        told["e1"]["discovery"] == row["sentence"]
        and told["e1"]["stands"]
        and told["e2"]["discovery"] is None
    )

    before = fingerprints(connection)
    several.interval(6, -1.0, 1.0, experiment_id="e2")
    several.tick(1)
    after = fingerprints(connection)
    assert [name for name in after if before[name] != after[name]] == ["e2"], (
        "pages of others stay as they are"
    )
