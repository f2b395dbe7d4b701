"""When the report bus counts as stalled."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta

import pytest

from et_pipeline.governance.stall import (
    end_outage,
    folder_fault,
    open_outages,
    record_outage,
    watch_report_bus,
)
from et_pipeline.settings import NatsSettings


def snapshot(world, at):
    world.connection.execute(
        "INSERT INTO snapshots VALUES ('a.ndjson', 1, 1, 'h', ?, 0, 0, 0, 0, 0, 1, 1, false, 1, 0)",
        [at.replace(tzinfo=None)],
    )


def test_a_folder_that_is_there_is_fine(world):
    assert watch_report_bus(world.connection, world.settings, world.now) is None
    assert open_outages(world.connection) == []


def test_a_missing_folder_is_an_outage_until_it_is_back(world):
    world.settings.report_bus_dir.rmdir()
    for _ in range(2):
        assert watch_report_bus(world.connection, world.settings, world.now) is not None
    (outage,) = open_outages(world.connection)
    assert (outage.source, outage.since) == ("report_bus", world.now.replace(tzinfo=None))
    world.settings.report_bus_dir.mkdir()
    assert watch_report_bus(world.connection, world.settings, world.now + timedelta(hours=1)) is None
    rows = world.connection.execute("SELECT until - since FROM outages").fetchall()
    assert rows == [(timedelta(hours=1),)]


def test_a_file_in_its_place_is_an_outage(world):
    world.settings.report_bus_dir.rmdir()
    world.settings.report_bus_dir.write_text("", encoding="utf-8")
    assert folder_fault(world.settings) == "the folder report_bus cannot be read (Not a directory)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_an_outage(world):
    world.settings.report_bus_dir.chmod(0)
    try:
        assert folder_fault(world.settings) == "the folder report_bus cannot be read (Permission denied)"
    finally:
        world.settings.report_bus_dir.chmod(0o755)


def test_silence_is_an_outage_only_where_a_patience_is_set(world):
    snapshot(world, world.now)
    late = world.now + timedelta(hours=3)
    assert watch_report_bus(world.connection, world.settings, late) is None
    patient = replace(world.settings, stall_after_us=2 * 3_600_000_000)
    assert watch_report_bus(world.connection, patient, world.now + timedelta(hours=2)) is None
    assert watch_report_bus(world.connection, patient, late) == "no new snapshot for more than 2h"
    (outage,) = open_outages(world.connection)
    assert outage.since == world.now.replace(tzinfo=None), "out since the last sign of life"
    snapshot(world, late)
    assert watch_report_bus(world.connection, patient, late) is None
    assert open_outages(world.connection) == []


def test_without_any_snapshot_patience_begins_with_the_first_experiment(world):
    patient = replace(world.settings, stall_after_us=3_600_000_000)
    assert watch_report_bus(world.connection, patient, world.now) is None
    world.write_plan()
    world.tick()
    assert watch_report_bus(world.connection, patient, world.now + timedelta(hours=2)) is not None


def test_a_bus_that_is_not_configured_pauses_nobody_and_its_outage_can_be_ended(world):
    world.write_plan()
    world.tick()
    on_nats = replace(world.settings, nats=NatsSettings("nats://127.0.0.1:9", timeout_s=0.2))
    record_outage(world.connection, "nats", "the NATS server does not answer", world.now)
    world.tick(hours=1)
    assert world.state() == "sampling"
    assert world.codes().count("EXPERIMENT_STALLED") == 0
    without, world.settings = world.settings, on_nats
    world.tick(hours=1)
    assert world.state() == "stalled"
    world.settings = without
    world.tick(hours=1)
    assert world.state() == "sampling"


def test_another_source_pauses_too_and_each_is_told(world):
    world.settings = replace(world.settings, nats=NatsSettings("nats://127.0.0.1:9"))
    world.write_plan()
    world.tick()
    assert record_outage(world.connection, "nats", "the NATS server does not answer", world.now)
    assert not record_outage(world.connection, "nats", "still", world.now)
    world.tick(hours=1)
    assert world.state() == "stalled"
    world.settings.report_bus_dir.rmdir()
    world.tick(hours=1)
    assert world.codes().count("EXPERIMENT_STALLED") == 2
    world.settings.report_bus_dir.mkdir()
    world.tick(hours=1)
    assert world.state() == "stalled", "one source is still out"
    assert end_outage(world.connection, "nats", world.now)
    assert not end_outage(world.connection, "nats", world.now)
    world.tick(hours=1)
    assert world.state() == "sampling"
