"""An experiment for which a stage raises an error is reported; the others go on, and so does it when the stage works
again."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import duckdb
import pytest
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.job.test_outages_and_sign_offs import add_plan
from et_pipeline_tests.job.test_withdrawn import FIRST, et, replay, report, write

BROKEN = {
    "plan": ("UPDATE experiments SET plan = '{}' WHERE experiment_id = 'bad'", "could not be registered"),
    "pairing": (
        "UPDATE experiments SET time_block_us = 0 WHERE experiment_id = 'bad'",
        "could not be paired",
    ),
    "evidence": ("UPDATE experiments SET alpha = -1 WHERE experiment_id = 'bad'", "could not be computed"),
    "decision": (
        "UPDATE experiment_metrics SET role = 'secondary' WHERE experiment_id = 'bad'",
        "could not be determined",
    ),
    "page": (
        "INSERT INTO pair_blocks_elsewhere VALUES ('bad', TIMESTAMP '290000-01-01', 1)",
        "could not be drawn",
    ),
}
"""By stage: what makes it raise for one experiment, and what is said of it."""


def break_it(world: World, change: str, name: str) -> None:
    with duckdb.connect(str(world.settings.warehouse_path)) as connection:
        connection.execute(change.replace("'bad'", f"'{name}'"))


def add_reports(world: World, name: str, first: int, last: int) -> None:
    """An hour has twelve opportunities; the variant is better by about 4 bps."""
    numbers, bus = random.Random(first), world.settings.report_bus_dir
    rows = [(i, FIRST + timedelta(minutes=5 * i), numbers.gauss(10, 12)) for i in range(first, last)]
    write(bus, f"{name}-{first}.ndjson", [report(name, *row) for row in rows])
    replays = [replay(name, i, at, edge + numbers.gauss(4, 6)) for i, at, edge in rows]
    write(bus, f"{name}-{first}-replay.ndjson", replays)


def test_what_raises_for_one_experiment_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One experiment for each stage that raises for it, and one for which none does, in the same ticks."""
    bad = {stage: f"bad-{stage}" for stage in BROKEN}
    names = ("good", *bad.values())
    for name in names:
        add_plan(world, name)
        add_reports(world, name, 0, 100)
    world.environment["ET_NOW"] = "2026-10-02T00:00:00Z"
    assert world.tick().success
    tables = ("experiments", "experiment_metrics", "pair_blocks_elsewhere")
    with duckdb.connect(str(world.settings.warehouse_path)) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    for stage, (change, _) in BROKEN.items():
        break_it(world, change, bad[stage])
    for name in names:
        add_reports(world, name, 100, 900)
    world.environment["ET_NOW"] = "2026-10-05T00:00:00Z"
    second = world.tick()
    assert second.success
    assert "every_experiment_works" in world.failed_checks(second)
    failed = {name for (name,) in world.rows("SELECT experiment_id FROM failures")}
    assert failed == set(bad.values())
    for stage, (_, said) in BROKEN.items():
        ((sentence, traceback),) = world.rows(
            f"SELECT sentence, traceback FROM failures WHERE stage = '{stage}' AND experiment_id = '{bad[stage]}'"
        )
        assert sentence.startswith(f"{bad[stage]}: ") and said in sentence
        assert "Traceback" in traceback
    assert world.rows("SELECT verdict FROM verdicts WHERE experiment_id = 'good'") == [("variant_better",)]
    assert world.run("publish").success
    sent = "SELECT reason_code FROM events JOIN deliveries USING (event_id) WHERE experiment_id = 'good'"
    assert ("EXPERIMENT_RESULT",) in world.rows(sent)
    pages = world.settings.pages_dir
    index, status = (pages / "index.html").read_text(encoding="utf-8"), et(world, monkeypatch, "status")
    assert "Variant is better" in (pages / "good.html").read_text(encoding="utf-8")
    for stage, (_, said) in BROKEN.items():
        assert said in (pages / f"{bad[stage]}.html").read_text(encoding="utf-8")
        assert said in index and said in status
        assert said in et(world, monkeypatch, "show", bad[stage])
    assert "variant_better" in et(world, monkeypatch, "show", "good")

    with duckdb.connect(str(world.settings.warehouse_path)) as connection:
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
            connection.execute(f"DROP TABLE kept_{table}")
    world.environment["ET_NOW"] = "2026-10-05T01:00:00Z"
    third = world.tick()
    assert third.success
    assert world.rows("SELECT * FROM failures") == [], "it works again"
    assert world.rows("SELECT DISTINCT verdict FROM verdicts") == [("variant_better",)]
    for name in bad.values():
        assert "could not be" not in (pages / f"{name}.html").read_text(encoding="utf-8")


def test_a_tick_with_a_failure_ends_with_status_1(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    add_plan(world, "bad")
    add_reports(world, "bad", 0, 100)
    monkeypatch.setenv("ET_DATA_DIR", str(world.folder))
    monkeypatch.setenv("ET_NOW", "2026-10-02T00:00:00Z")
    assert CliRunner().invoke(app, ["tick"]).exit_code == 0
    break_it(world, BROKEN["decision"][0], "bad")
    add_reports(world, "bad", 100, 200)
    for due in (True, False):
        done = CliRunner().invoke(app, ["tick", "--json"])
        assert done.exit_code == 1
        found = json.loads(done.stdout)
        assert found["due"] is due
        assert ["could not be determined" in failure for failure in found["failures"]] == [True]
