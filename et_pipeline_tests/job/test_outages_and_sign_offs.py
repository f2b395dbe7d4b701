"""Events besides reports: outages, sign-offs, late reports, ends of experiments, and ticks that are interrupted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import dagster as dg

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.definitions import defs
from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.ticks import new_inputs
from et_pipeline.generator import Scenario, write_snapshots
from et_pipeline.governance.sign_offs import Document, split_evidence, write_sign_off
from et_pipeline_tests.job.conftest import World

PLAN = """\
experiment_id: {name}
title: A small experiment
hypothesis: It is better.
owner: desk
mode: shadow
control: {{strategy_id: strat.{name}, config_version: "1"}}
variant: {{strategy_id: strat.{name}, config_version: "2"}}
traffic_split_pct: {split}
planned_pairs: 1500
starts_at: 2026-10-01T00:00:00Z
ends_at: {ends_at}
metrics:
  - {{name: edge_bps, role: primary, equivalence_margin: 0.5}}
"""


def add_plan(world: World, name: str, *, split: float = 10, ends_at: str = "2026-10-15T00:00:00Z") -> Plan:
    text = PLAN.format(name=name, split=split, ends_at=ends_at)
    (world.settings.experiments_dir / f"{name}.yaml").write_text(text)
    plan = parse_plan(text.encode(), name)
    assert isinstance(plan, Plan)
    return plan


def scenario(plan: Plan, opportunities: int = 1_500, *, markets: int = 60, **facts: object) -> Scenario:
    return Scenario(
        experiment_id=plan.experiment_id,
        control_strategy_id=plan.control.strategy_id,
        variant_strategy_id=plan.variant.strategy_id,
        starts_at=plan.starts_at,
        ends_at=plan.ends_at,
        opportunities=opportunities,
        markets=markets,
        **facts,  # type: ignore[arg-type]
    )


def codes(world: World) -> list[str]:
    return [
        row[0]
        for row in world.rows("SELECT reason_code FROM events WHERE reason_code IS NOT NULL ORDER BY seq")
    ]


def test_an_outage_is_told_once_pauses_and_resumes_with_the_backlog(world: World) -> None:
    plan = add_plan(world, "alpha", ends_at="2027-12-31T00:00:00Z")
    bus = world.settings.report_bus_dir
    world.environment["ET_NOW"] = "2026-10-10T00:00:00Z"
    shutil.rmtree(bus)
    broken = world.tick()
    assert broken.success
    assert "not_stalled" in world.failed_checks(broken)
    world.tick()
    assert codes(world) == ["EXPERIMENT_STARTED", "EXPERIMENT_STALLED"], "one event an outage"
    assert world.rows("SELECT state FROM verdicts") == [("stalled",)]
    world.environment["ET_NOW"] = "2026-11-10T00:00:00Z"
    short = scenario(plan, opportunities=300)
    write_snapshots(
        [short.__class__(**{**short.__dict__, "ends_at": short.starts_at.replace(month=11)})], bus, seed=3
    )
    assert "not_stalled" not in world.failed_checks(world.tick())
    assert world.rows("SELECT state FROM verdicts") != [("stalled",)]
    assert world.rows("SELECT count(*) FROM pairs") == [(300,)], "nothing was lost"
    shutil.rmtree(bus)
    world.tick()
    assert codes(world).count("EXPERIMENT_STALLED") == 2, "each outage is told"
    assert world.rows("SELECT count(*) FROM outages") == [(2,)]


def test_a_large_split_waits_for_a_signature_and_samples_in_the_tick_that_finds_it(world: World) -> None:
    plan = add_plan(world, "beta", split=60)
    world.environment["ET_NOW"] = "2026-10-14T00:00:00Z"
    write_snapshots([scenario(plan)], world.settings.report_bus_dir, seed=3)
    world.tick()
    assert codes(world) == ["EXPERIMENT_STARTED", "EXPERIMENT_LARGE_SPLIT_WARN"]
    assert world.rows("SELECT state, n_pairs FROM verdicts") == [("awaiting_sign_off", 0)]
    key = make_key(world.folder / "alice")
    allowed = world.settings.allowed_signers_path
    allowed.write_text(f"alice {key.with_suffix('.pub').read_text()}")
    ((in_force,),) = world.rows("SELECT plan_hash FROM experiments")
    document = Document(
        experiment_id="beta",
        plan_hash=in_force,
        evidence_hash=split_evidence("beta", 60),
        purpose="split",
        decision="approve",
        reason="Seen.",
        signer="alice",
        signed_at=world.settings.now(),
    )
    write_sign_off(world.settings, document, key)
    assert world.tick().success
    assert world.rows("SELECT count(*) > 100 FROM pairs") == [(True,)]
    assert world.rows("SELECT state FROM verdicts")[0][0] not in ("awaiting_sign_off", "registered")
    assert world.rows("SELECT signer, valid FROM sign_offs") == [("alice", True)]


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_an_end_without_an_answer_is_inconclusive(world: World) -> None:
    plan = add_plan(world, "gamma")
    write_snapshots([scenario(plan, opportunities=60)], world.settings.report_bus_dir, seed=3)
    world.environment["ET_NOW"] = "2026-10-20T00:00:00Z"
    world.tick()
    assert world.rows("SELECT state, verdict FROM verdicts") == [("concluded", "inconclusive")]
    assert codes(world) == ["EXPERIMENT_STARTED", "EXPERIMENT_INSUFFICIENT_SAMPLES", "EXPERIMENT_RESULT"]


def test_ticks_in_pieces_equal_one_tick(world: World, tmp_path_factory) -> None:
    import dagster as dg

    tables = ("pairs", "cells", "intervals", "interval_path", "drift", "unmatched")
    columns = {"cells": "* EXCLUDE (experiment_id)"}

    def state(of: World) -> list[object]:
        return [of.rows(f"SELECT {columns.get(table, '*')} FROM {table} ORDER BY ALL") for table in tables]

    world.environment["ET_NOW"] = "2026-10-20T00:00:00Z"
    plan = add_plan(world, "epsilon")
    facts = {
        "late_share": 0.1,
        "duplicate_share": 0.05,
        "superseded_share": 0.05,
        "uplift": {"edge_bps": 3.0},
        "opportunities": 600,
    }
    files = {"seed": 5, "files": 2}
    for number in range(2):
        write_snapshots([scenario(plan, **facts)], world.settings.report_bus_dir, only=[number], **files)
        assert world.tick().success
    other_folder = tmp_path_factory.mktemp("whole")
    (other_folder / "experiments").mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        other = World(other_folder, instance, dict(world.environment))
        add_plan(other, "epsilon")
        write_snapshots([scenario(plan, **facts)], other.settings.report_bus_dir, **files)
        assert other.tick().success
        assert state(other) == state(world)


def test_late_reports_that_change_an_announced_verdict_are_shown(world: World) -> None:
    plan = add_plan(world, "zeta")
    world.environment["ET_NOW"] = "2026-10-20T00:00:00Z"
    bus = world.settings.report_bus_dir
    write_snapshots([scenario(plan, uplift={"edge_bps": 6.0})], bus, seed=5)
    world.tick()
    assert world.rows("SELECT verdict, contradicted FROM verdicts") == [("variant_better", False)]
    write_snapshots([scenario(plan, uplift={"edge_bps": -20.0}, opportunities=3_000)], bus / "late", seed=6)
    late = world.tick()
    assert late.success
    assert "announced_verdict_follows" in world.failed_checks(late)
    announced, contradicted = world.rows("SELECT announced_verdict, contradicted FROM verdicts")[0]
    assert (announced, contradicted) == ("variant_better", True), "what was announced stays announced"


def test_a_broken_balance_blocks_what_is_downstream(world: World) -> None:
    import duckdb

    plan = add_plan(world, "eta")
    world.environment["ET_NOW"] = "2026-10-20T00:00:00Z"
    bus = world.settings.report_bus_dir
    write_snapshots([scenario(plan, opportunities=100)], bus, seed=5)
    world.tick()
    with duckdb.connect(str(world.settings.warehouse_path)) as connection:
        connection.execute("UPDATE snapshots SET lines = lines + 1, batch = batch + 1000")
    write_snapshots([scenario(plan, opportunities=100)], bus / "more", seed=6)
    result = world.tick()
    assert "every_line_accounted_for" in world.failed_checks(result)
    done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert "pairs" not in done and "verdicts" not in done


def test_a_changed_plan_is_shown_and_the_frozen_one_stays_in_force(world: World) -> None:
    add_plan(world, "eta")
    world.environment["ET_NOW"] = "2026-10-10T00:00:00Z"
    assert "plan_frozen" not in world.failed_checks(world.tick())
    path = world.settings.experiments_dir / "eta.yaml"
    path.write_text(path.read_text().replace("equivalence_margin: 0.5", "equivalence_margin: 5"))
    changed = world.tick()
    assert changed.success
    assert world.failed_checks(changed) == {"plan_frozen"}
    assert world.rows("SELECT equivalence_margin FROM experiment_metrics") == [(0.5,)]


def test_a_tampered_audit_log_lets_nothing_more_be_published(world: World) -> None:
    import duckdb

    add_plan(world, "eta")
    world.environment["ET_NOW"] = "2026-10-10T00:00:00Z"
    assert world.tick().success
    before = world.settings.analyst_path.stat().st_ino
    with duckdb.connect(str(world.settings.warehouse_path)) as connection:
        connection.execute("UPDATE audit_log SET action = 'nothing' WHERE seq = 1")
    result = world.tick()
    assert not result.success
    assert world.failed_checks(result) == {"audit_chain_intact"}
    assert world.settings.analyst_path.stat().st_ino == before
    assert world.rows("SELECT action FROM audit_log WHERE seq = 1") != [("nothing",)]


def test_a_bad_plan_stops_no_other(world: World) -> None:
    add_plan(world, "theta")
    (world.settings.experiments_dir / "bad.yaml").write_text("experiment_id: [1")
    result = world.tick()
    assert result.success
    assert world.failed_checks(result) == {"plans_valid"}
    assert world.rows("SELECT path FROM plan_refusals") == [("bad.yaml",)]


def test_no_plan_at_all_is_a_tick_too(world: World) -> None:
    assert world.tick().success
    assert world.rows("SELECT count(*) FROM experiments") == [(0,)]


def sensor(world: World, cursor: str | None, now: str) -> dg.SensorResult | dg.SkipReason:
    """What the sensor on the inputs says at a moment."""
    environment = {"ET_DATA_DIR": str(world.folder), **world.environment, "ET_NOW": now}
    with dg.build_sensor_context(
        instance=world.instance,
        cursor=cursor,
        resources={"warehouse": Warehouse(environment=environment)},
    ) as context:
        return new_inputs(context)


def test_files_that_come_faster_than_ticks_end_make_no_queue(world: World) -> None:
    now = "2026-10-14T01:00:00Z"
    first = sensor(world, None, now)
    assert isinstance(first, dg.SensorResult)
    waiting = world.instance.create_run_for_job(defs.resolve_job_def("tick"))  # it has not started
    add_plan(world, "alpha")
    skipped = sensor(world, first.cursor, now)
    assert isinstance(skipped, dg.SkipReason)
    assert "waits to start" in skipped.skip_message
    world.instance.report_run_canceled(waiting)
    asked = sensor(world, first.cursor, now)
    assert isinstance(asked, dg.SensorResult), "what came meanwhile is not forgotten"
    assert asked.cursor != first.cursor


def test_the_sensor_asks_for_a_tick_when_a_published_file_is_gone(world: World) -> None:
    def asked(cursor: str | None, now: str) -> dg.SensorResult | dg.SkipReason:
        return sensor(world, cursor, now)

    first = asked(None, "2026-10-14T01:00:00Z")
    assert isinstance(first, dg.SensorResult)
    world.environment["ET_NOW"] = "2026-10-14T01:00:00Z"
    assert world.tick().success
    assert isinstance(asked(first.cursor, "2026-10-14T01:01:00Z"), dg.SkipReason)
    world.settings.analyst_path.unlink()
    second = asked(first.cursor, "2026-10-14T01:01:00Z")
    assert isinstance(second, dg.SensorResult)
    assert isinstance(asked(second.cursor, "2026-10-14T01:01:30Z"), dg.SkipReason), "asked for already"
    assert isinstance(asked(second.cursor, "2026-10-14T01:11:30Z"), dg.SensorResult), "it did not come back"
    assert world.tick().success
    assert world.settings.analyst_path.exists()
    assert isinstance(asked(second.cursor, "2026-10-14T01:11:30Z"), dg.SkipReason)
