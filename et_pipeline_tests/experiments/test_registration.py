"""Registration: a plan is registered once, frozen, and amended where this is allowed; every refusal is recorded."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import duckdb
import pytest
import yaml

from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.plan import FROZEN, Plan, read_plans
from et_pipeline.experiments.registered import registered_experiments, registered_ids
from et_pipeline.experiments.registration import expected_clusters, register, tuning, with_boundary
from et_pipeline.inference.boundary import solve_g
from et_pipeline.settings import Settings
from et_pipeline.warehouse import audit
from et_pipeline.warehouse.connection import migrations, open_warehouse
from et_pipeline_tests.contracts.test_plan import PLAN

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def write(settings: Settings, name: str, text: str) -> None:
    (settings.experiments_dir / name).write_text(text)


def registered_plans(connection: duckdb.DuckDBPyConnection) -> dict[str, Plan]:
    return {
        item.experiment_id: Plan.model_validate_json(item.plan, strict=False, context=FROZEN)
        for item in registered_experiments(connection)
    }


def test_a_plan_is_registered_once_with_its_tuning(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        assert register(connection, settings, NOW).registered == ["line-shop-v4"]
        assert register(connection, settings, NOW) == ([], [], [], [])
        g, clusters = connection.execute("SELECT g, expected_clusters FROM experiments").fetchone()  # type: ignore[misc]
        assert g == solve_g(50, 0.05), "30 days of hours, markets unknown"
        assert clusters == 50
        assert connection.execute("SELECT count(*) FROM experiment_metrics").fetchone() == (4,)
        assert connection.execute("SELECT list(action) FROM audit_log").fetchone() == (["plan_registered"],)


def test_the_one_reading_says_what_the_plans_say(settings: Settings) -> None:
    other = (
        PLAN.replace("line-shop-v4", "aaa")
        .replace("4.0-rc1", "5")
        .replace("bounded}", "mean, winsor: [0, 0.5]}")
    )
    write(settings, "a.yaml", PLAN)
    write(settings, "b.yaml", other)
    plans = {
        plan.experiment_id: with_boundary(plan) for plan in read_plans(settings.experiments_dir)[0].values()
    }
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        found = registered_experiments(connection)
        assert [item.experiment_id for item in found] == registered_ids(connection) == ["aaa", "line-shop-v4"]
        assert registered_experiments(connection, ["unknown", "line-shop-v4"]) == found[1:]
        assert registered_experiments(connection, []) == []
    for item in found:
        plan = plans[item.experiment_id]
        assert [terms[:5] for terms in item.metrics] == [
            (one.name, one.role, one.effective_estimator, one.non_inferiority_margin, one.equivalence_margin)
            for one in plan.metrics
        ]
        assert [terms[5:] for terms in item.metrics] == [one.winsor or (None, None) for one in plan.metrics]
        assert [item.primary.name, *(terms.name for terms in item.guardrails)] == [
            plan.primary.name,
            *(one.name for one in plan.guardrails),
        ]
        for name in ("plan_hash", "title", "owner", "mode", "traffic_split_pct", "min_samples_for_decision",
                     "planned_pairs", "planned_blocks", "alpha", "alarm_alpha", "max_missing", "sample"):  # fmt: skip
            assert getattr(item, name) == getattr(plan, name), name
        assert (item.control_strategy_id, item.control_config_version) == ("strat.line_shop", "3.2")
        assert (item.variant_strategy_id, item.variant_config_version) == (
            plan.variant.strategy_id,
            plan.variant.config_version,
        )
        assert (item.time_block_us, item.matching, item.tolerance_us) == (
            plan.time_block,
            "correlation",
            None,
        )
        assert (item.starts_at, item.ends_at) == (naive_utc(plan.starts_at), naive_utc(plan.ends_at))
        assert (item.g, item.expected_clusters) == (tuning(plan), expected_clusters(plan))


@pytest.mark.parametrize(("line", "clusters"), [("time_block: 1d", 20.6), ("planned_clusters: 40", 40)])
def test_the_tuning_follows_the_plan(settings: Settings, line: str, clusters: float) -> None:
    write(settings, "a.yaml", PLAN.replace("time_block: 1h", line))
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        found = connection.execute("SELECT expected_clusters, g, alpha FROM experiments").fetchone()
        assert found is not None
        assert found[0] == pytest.approx(clusters, abs=0.1)
        assert found[1] == solve_g(found[0], found[2])


def test_the_statistical_part_is_frozen(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        before = registered_plans(connection)
        write(settings, "a.yaml", PLAN.replace("equivalence_margin: 2.0", "equivalence_margin: 4.0"))
        refused = register(connection, settings, NOW).refused
        assert [refusal.key for refusal in refused] == ["metrics"]
        assert "new experiment_id" in refused[0].sentence
        assert registered_plans(connection) == before
        register(connection, settings, NOW)
        actions = connection.execute("SELECT list(action ORDER BY seq) FROM audit_log").fetchone()
        assert actions == (["plan_registered", "plan_refused"],), "an attempt is recorded once"
        write(settings, "a.yaml", PLAN)
        assert register(connection, settings, NOW).refused == []
        assert connection.execute("SELECT count(*) FROM plan_refusals").fetchone() == (0,)
        assert audit.verify(connection) is None


def test_a_share_of_missing_values_is_registered_and_frozen_also_where_it_was_left_out(
    settings: Settings,
) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        assert connection.execute("SELECT max_missing FROM experiments").fetchall() == [(0.05,)]
        write(settings, "a.yaml", PLAN + "\nmax_missing: 0.5\n")
        (refusal,) = register(connection, settings, NOW).refused
        assert (refusal.key, refusal.value) == ("max_missing", "0.5")
        assert "it was 0.05" in refusal.sentence
        write(settings, "a.yaml", PLAN + "\nmax_missing: 0.05\n")
        assert register(connection, settings, NOW).refused == []


def test_open_keys_change_in_one_direction_only(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        write(settings, "a.yaml", PLAN.replace("2026-12-01", "2026-12-02"))
        assert [refusal.key for refusal in register(connection, settings, NOW).refused] == ["ends_at"]
        write(settings, "a.yaml", PLAN.replace("2026-12-01", "2026-11-20").replace("Wider", "Wide"))
        assert register(connection, settings, NOW).amended == ["line-shop-v4"]
        assert connection.execute("SELECT title, ends_at FROM experiments").fetchone() == (
            "Wide quotes on NBA props",
            datetime(2026, 11, 20),
        )
        write(settings, "a.yaml", PLAN + "traffic_split_pct: 20\n")
        assert {refusal.key for refusal in register(connection, settings, NOW).refused} == {
            "ends_at",
            "traffic_split_pct",
        }


def test_limited_live_needs_a_decision_of_the_deployment(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN.replace("mode: shadow", "mode: limited_live"))
    write(settings, "b.yaml", PLAN.replace("line-shop-v4", "other").replace("4.0-rc1", "5.0"))
    with open_warehouse(settings) as connection:
        outcome = register(connection, settings, NOW)
        assert outcome.registered == ["other"], "the other experiments go on"
        assert [(refusal.key, "shadow_only" in refusal.sentence) for refusal in outcome.refused] == [
            ("mode", True)
        ]
        allowed = dataclasses.replace(settings, mode="limited_live")
        assert register(connection, allowed, NOW).registered == ["line-shop-v4"]


def test_a_frozen_limited_live_plan_keeps_how_its_arms_are_compared(settings: Settings) -> None:
    """Pairs by nearest time with its hash; and where its file says nothing, what that meant when it was registered."""
    live = PLAN.replace("mode: shadow", "mode: limited_live").replace(", estimator: bounded", "")
    nearest = live.replace("method: correlation", "method: nearest, tolerance: 2s")
    silent = "".join(line for line in live.splitlines(keepends=True) if not line.startswith("matching"))
    silent = silent.replace("line-shop-v4", "silent").replace("4.0-rc1", "5.0")
    allowed = dataclasses.replace(settings, mode="limited_live")
    write(settings, "a.yaml", nearest)
    write(settings, "b.yaml", silent.replace("mode:", "matching: {method: correlation}\nmode:"))
    with open_warehouse(settings) as connection:
        assert register(connection, allowed, NOW).refused == []
        before = connection.execute("SELECT experiment_id, plan_hash, matching FROM experiments").fetchall()
        assert [row[2] for row in before] == ["nearest", "correlation"]
        write(settings, "b.yaml", silent)
        outcome = register(connection, allowed, NOW)
        assert (outcome.refused, outcome.amended) == ([], [])
        write(settings, "c.yaml", silent.replace("silent", "newer").replace("5.0", "6.0"))
        register(connection, allowed, NOW)
        after = connection.execute("SELECT experiment_id, plan_hash, matching FROM experiments").fetchall()
        assert after[:2] == before
        assert after[2][2] == "arms"


def test_the_later_of_two_overlapping_plans_is_refused(settings: Settings) -> None:
    write(settings, "late.yaml", PLAN.replace("line-shop-v4", "aaa-late").replace("2026-11-01", "2026-11-05"))
    write(settings, "early.yaml", PLAN)
    with open_warehouse(settings) as connection:
        outcome = register(connection, settings, NOW)
        assert outcome.registered == ["line-shop-v4"]
        assert outcome.refused[0].experiment_id == "aaa-late"
        assert "line-shop-v4 already watches the same variant" in outcome.refused[0].sentence


def test_a_deleted_plan_stays_registered(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        (settings.experiments_dir / "a.yaml").unlink()
        assert register(connection, settings, NOW) == ([], [], [], [])
        assert list(registered_plans(connection)) == ["line-shop-v4"]


BEFORE_PASSES = 6
"""The newest migration of the time when a missing replay counted as zero edge."""


def test_a_frozen_plan_with_zero_is_read_as_what_it_meant(new_settings: Settings) -> None:
    """In shadow that is an assumption; in limited live, where nobody asked the variant, nothing is assumed."""
    settings = new_settings
    shadow = PLAN.replace("on_no_trade: exclude", "on_no_trade: zero")
    live = shadow.replace("line-shop-v4", "in-live").replace("mode: shadow", "mode: limited_live")
    plans = {}
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.warehouse_path)) as old:
        old.execute("CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL)")
        for number, text in migrations():
            if number <= BEFORE_PASSES:
                old.execute(text)
                old.execute("INSERT INTO schema_version VALUES (?, now()::TIMESTAMP)", [number])
        for name, text in (("a.yaml", shadow), ("b.yaml", live)):
            write(settings, name, text)
            found = Plan.model_validate(yaml.safe_load(text), context=FROZEN)
            plans[found.experiment_id] = found
            old.execute(
                """INSERT INTO experiments
                SELECT $id, $hash, 't', 'h', 'o', $mode, 'c', NULL, 'v', NULL, 10, 100, 4000, 50, $start, $end,
                    0.05, 0.025, 720, 3600000000, 'correlation', NULL, 'zero', false, 1, false, 1.0, $plan, 'p', $now""",
                {
                    "id": found.experiment_id,
                    "hash": found.plan_hash,
                    "mode": found.mode,
                    "start": found.starts_at.replace(tzinfo=None),
                    "end": found.ends_at.replace(tzinfo=None),
                    "plan": json.dumps(found.model_dump(mode="json")),
                    "now": NOW.replace(tzinfo=None),
                },
            )
    with open_warehouse(settings) as connection:
        assert registered_plans(connection) == plans
        outcome = register(connection, settings, NOW)
        assert [(refusal.path, refusal.key) for refusal in outcome.refused] == [("b.yaml", "matching")]
        write(settings, "a.yaml", shadow.replace("Wider", "Wide"))
        assert register(connection, settings, NOW).amended == ["line-shop-v4"]
        rows = "SELECT experiment_id, on_no_trade, plan_hash FROM experiments ORDER BY 1"
        assert connection.execute(rows).fetchall() == [
            ("in-live", "exclude", plans["in-live"].plan_hash),
            ("line-shop-v4", "assume_zero", plans["line-shop-v4"].plan_hash),
        ]


def test_a_new_plan_with_zero_counts_the_passes_that_are_said(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN.replace("on_no_trade: exclude", "on_no_trade: zero"))
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        assert connection.execute("SELECT on_no_trade FROM experiments").fetchone() == ("zero",)


def test_a_new_plan_gets_the_boundary_over_its_horizon_and_keeps_it(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        query = "SELECT boundary, plan->>'$.boundary', plan_hash FROM experiments"
        (found,) = connection.execute(query).fetchall()
        assert found[:2] == ("horizon", "horizon")
        for same in ("", "\nboundary: horizon\n"):
            write(settings, "a.yaml", PLAN + same)
            assert register(connection, settings, NOW) == ([], [], [], [])
        write(settings, "a.yaml", PLAN + "\nboundary: mixture\n")
        (refusal,) = register(connection, settings, NOW).refused
        assert (refusal.key, refusal.value) == ("boundary", "'mixture'")
        assert connection.execute(query).fetchall() == [found]


def test_a_plan_from_before_there_was_a_choice_keeps_the_mixture_and_its_hash(settings: Settings) -> None:
    write(settings, "a.yaml", PLAN)
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        (text,) = connection.execute("SELECT plan FROM experiments").fetchone()  # type: ignore[misc]
        document = json.loads(text)
        del document["boundary"]
        before = Plan.model_validate(document, strict=False, context=FROZEN).plan_hash
        connection.execute(
            "UPDATE experiments SET plan = ?, plan_hash = ?, boundary = 'mixture'",
            [json.dumps(document), before],
        )
        for same in ("", "\nboundary: mixture\n"):
            write(settings, "a.yaml", PLAN + same)
            assert register(connection, settings, NOW) == ([], [], [], [])
        write(settings, "a.yaml", PLAN + "\nboundary: horizon\n")
        (refusal,) = register(connection, settings, NOW).refused
        assert refusal.key == "boundary"
        write(settings, "a.yaml", PLAN.replace("title: ", "title: New "))
        assert register(connection, settings, NOW).amended == ["line-shop-v4"]
        found = connection.execute("SELECT boundary, plan_hash FROM experiments").fetchall()
        assert found == [("mixture", before)]


@pytest.mark.parametrize(
    ("line", "boundary"),
    [("", "mixture"), ("\nboundary: mixture\n", "mixture"), ("\nboundary: horizon\n", None)],
)
def test_a_plan_too_short_for_a_look_has_the_mixture(
    settings: Settings, line: str, boundary: str | None
) -> None:
    write(settings, "a.yaml", PLAN.replace("time_block: 1h", "time_block: 29h") + line)
    with open_warehouse(settings) as connection:
        refused = register(connection, settings, NOW).refused
        found = connection.execute("SELECT boundary FROM experiments").fetchall()
    assert found == ([] if boundary is None else [(boundary,)])
    assert [item.key for item in refused] == ([] if boundary else ["boundary"])
    assert all("no look is taken before 30 blocks" in item.sentence for item in refused)
