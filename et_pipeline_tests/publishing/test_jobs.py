"""The jobs `publish` and `collect` through Dagster, and what starts them."""

from __future__ import annotations

import json

import dagster as dg
import pytest
from filelock import FileLock

from et_pipeline.definitions import publish
from et_pipeline.defs.experiment import last_tick
from et_pipeline.defs.publishing import (
    collect,
    collect_regularly,
    deliveries,
    publish_pending,
    publish_when_decided,
)
from et_pipeline.defs.resource import Warehouse
from et_pipeline.due import fingerprint
from et_pipeline.governance.stall import open_outages
from et_pipeline.publishing.bus_snapshot import bus_snapshot
from et_pipeline.publishing.outbox import dead_letters, redeliver
from et_pipeline.settings import Settings, SettingsError
from et_pipeline.warehouse.connection import open_warehouse


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def resource(settings: Settings, **environment: str) -> Warehouse:
    return Warehouse(environment={"ET_DATA_DIR": str(settings.data_dir), **environment})


def run(
    job: dg.JobDefinition, warehouse: Warehouse, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    return job.execute_in_process(resources={"warehouse": warehouse}, instance=instance, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult) -> str:
    error = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return error.message


def test_publish_delivers_what_is_pending_and_is_harmless_again(
    instance, settings, put_events, reports, signals
):
    ids = put_events(settings, reports(3) + signals(1))
    first = run(publish, resource(settings), instance)
    assert first.success
    assert first.output_for_node("deliver_events") == 4
    assert sorted(path.stem for path in settings.outbox_dir.iterdir()) == sorted(ids)
    again = run(publish, resource(settings), instance)
    assert again.success
    assert again.output_for_node("deliver_events") == 0


def test_a_message_that_was_given_up_fails_the_run_and_is_told(
    instance, settings, registry, put_events, *, signals, reports
):
    put_events(settings, reports(1))
    (key,) = put_events(settings, signals(1))
    registry.script = [registry.answer(422, body=b"unknown strategy")]
    warehouse = resource(settings, ET_REGISTRY_URL=registry.url, ET_REGISTRY_TOKEN="secret-tok3n")
    result = run(publish, warehouse, instance)
    assert not result.success
    assert "1 messages could not be delivered" in failure(result)
    assert settings.metrics_path.exists()
    assert len(list(settings.outbox_dir.iterdir())) == 1  # the other one left all the same
    with open_warehouse(settings) as connection:
        redeliver(connection, [letter.event_id for letter in dead_letters(connection)])
    assert run(publish, warehouse, instance).success
    assert registry.keys == [key, key]


def test_the_token_is_in_no_log_line_no_event_and_no_table(
    instance, settings, registry, put_events, *, signals, capfd
):
    token = "s3cret-token-of-the-registry"
    put_events(settings, signals(2))
    registry.script = [registry.answer(400, body=token.encode()), registry.answer(drop=True)]
    warehouse = resource(settings, ET_REGISTRY_URL=registry.url, ET_REGISTRY_TOKEN=token)
    result = run(publish, warehouse, instance)
    assert registry.requests[0][1]["Authorization"] == f"Bearer {token}"
    everything = [str(entry) for entry in instance.all_logs(result.run_id)] + list(capfd.readouterr())
    everything += [path.read_text() for path in (settings.data_dir / "logs").iterdir()]
    everything += [settings.metrics_path.read_text()]
    with open_warehouse(settings) as connection:
        everything.append(str(connection.execute("SELECT * FROM deliveries").fetchall()))
    assert not [text for text in everything if token in text]


def test_every_attempt_is_a_log_line_with_the_house_fields(settings, instance, put_events, reports, signals):
    put_events(settings, reports(1) + signals(1))
    run(publish, resource(settings), instance)
    text = (settings.data_dir / "logs" / "experimenttracker.ndjson").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [list(line)[:4] for line in lines] == [["ts", "level", "bot_id", "reason_code"]] * 2
    assert {(line["level"], line["bot_id"], line["reason_code"], line["event"]) for line in lines} == {
        ("info", "gov.experimenttracker", "EXPERIMENT_STARTED", "delivered"),
        ("info", "gov.experimenttracker", None, "delivered"),
    }


def test_log_lines_go_to_stderr_or_nowhere_below_their_level(settings, instance, put_events, reports, capfd):
    put_events(settings, reports(1))
    run(publish, resource(settings, ET_LOG="stderr"), instance)
    assert '"reason_code": "EXPERIMENT_STARTED"' in capfd.readouterr().err
    put_events(settings, [event._replace(event_id="other") for event in reports(1)])
    run(publish, resource(settings, ET_LOG="stderr", ET_LOG_LEVEL="warning"), instance)
    assert '"reason_code"' not in capfd.readouterr().err
    assert not (settings.data_dir / "logs").exists()


# what starts them ------------------------------------------------------------------------------------------


def pending_sensor(settings: Settings, instance: dg.DagsterInstance):
    resources = {"warehouse": resource(settings)}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        return publish_pending(context)


def test_pending_messages_start_one_run_until_an_attempt_is_recorded(settings, instance, put_events, reports):
    settings.warehouse_path.unlink()
    assert isinstance(pending_sensor(settings, instance), dg.SkipReason)
    assert not settings.warehouse_path.exists()
    put_events(settings, reports(1))
    first, second = pending_sensor(settings, instance), pending_sensor(settings, instance)
    assert first.run_key == second.run_key
    run(publish, resource(settings), instance)
    assert isinstance(pending_sensor(settings, instance), dg.SkipReason)
    with open_warehouse(settings) as connection:
        redeliver(connection, [event.event_id for event in reports(1)])
    assert pending_sensor(settings, instance).run_key != first.run_key


def test_a_busy_warehouse_only_makes_the_sensor_look_again_later(settings, instance, put_events, reports):
    put_events(settings, reports(1))
    with open_warehouse(settings):
        assert "in use" in pending_sensor(settings, instance).skip_message


def test_a_tick_delivers_what_goes_to_files_and_starts_one_delivery_of_the_rest(
    instance, settings, registry, put_events, *, reports, signals
):
    with open_warehouse(settings):
        pass
    warehouse = resource(settings, ET_REGISTRY_URL=registry.url, ET_REGISTRY_TOKEN="secret-tok3n")
    assets, resources = [deliveries, last_tick], {"warehouse": warehouse}
    definitions = dg.Definitions(assets=assets, jobs=[publish], resources=resources)

    def materialize() -> dg.ExecuteInProcessResult:
        assert dg.materialize([deliveries], instance=instance, resources=resources).success
        return dg.materialize([last_tick], instance=instance, resources=resources)

    def look(cursor: str | None) -> list[dg.RunRequest]:
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=definitions.get_repository_def()
        ) as context:
            found = publish_when_decided.evaluate_tick(context)
            return [*found.run_requests], found.cursor

    nothing, cursor = look(None)
    assert nothing == []
    keys = put_events(settings, reports(2))
    assert materialize().success
    assert sorted(path.stem for path in settings.outbox_dir.iterdir()) == sorted(keys)
    nothing, cursor = look(cursor)
    assert nothing == [], "the tick delivered everything itself"

    (key,) = put_events(settings, signals(1))
    done = materialize()
    assert registry.keys == [], "a tick waits for no network"
    (request,), cursor = look(cursor)
    assert request.run_key == f"tick:{done.run_id}"
    assert look(cursor)[0] == []
    assert run(publish, warehouse, instance).success
    assert registry.keys == [key]


def test_what_a_tick_could_not_write_at_once_is_left_as_it_was(instance, settings, put_events, reports):
    (key,) = put_events(settings, reports(1))
    settings.outbox_dir.write_text("a file where the folder should be")
    warehouse = resource(settings)

    def materialize() -> int:
        for asset in (deliveries, last_tick):
            done = dg.materialize([asset], instance=instance, resources={"warehouse": warehouse})
        (noted,) = done.asset_materializations_for_node("last_tick")
        return noted.metadata["left"].value

    assert materialize() == 1
    with open_warehouse(settings) as connection:
        assert connection.execute("SELECT count(*) FROM deliveries").fetchall() == [(0,)]
    settings.outbox_dir.unlink()
    with FileLock(settings.warehouse_path.with_name("delivery.lock")):
        assert materialize() == 1, "another process delivers, and no tick waits for it"
    assert materialize() == 0
    assert [path.stem for path in settings.outbox_dir.iterdir()] == [key]


# the bus ---------------------------------------------------------------------------------------------------


def on_bus(settings: Settings, server) -> Warehouse:
    return resource(settings, ET_NATS_URL=server.url, ET_NATS_TIMEOUT="2")


def test_collect_takes_the_bus_into_the_folder(settings, instance, nats_server):
    nats_server.publish([b'{"report_id": "r-1"}'])
    result = run(collect, on_bus(settings, nats_server), instance)
    assert result.output_for_node("take_bus_snapshots") == 1
    assert [path.read_bytes() for path in settings.report_bus_dir.rglob("*.ndjson")] == [
        b'{"report_id": "r-1"}\n'
    ]


def test_an_outage_of_the_bus_fails_the_run_is_recorded_once_and_ends_by_itself(
    settings, instance, nats_server
):
    warehouse = on_bus(settings, nats_server)
    assert run(collect, warehouse, instance).success
    before = fingerprint(settings)
    nats_server.down()
    for _ in range(2):
        result = run(collect, warehouse, instance)
        assert not result.success
        assert "is unavailable" in failure(result)
    with open_warehouse(settings) as connection:
        (outage,) = open_outages(connection)
    assert outage.source == "nats"
    assert fingerprint(settings) != before  # so a tick is due, which pauses the experiments

    nats_server.up()
    nats_server.publish([b'{"report_id": "backlog"}'])
    assert run(collect, warehouse, instance).success
    with open_warehouse(settings) as connection:
        assert open_outages(connection) == []
    assert not list(settings.report_bus_dir.rglob("outage.txt"))
    assert len(list(settings.report_bus_dir.rglob("*.ndjson"))) == 1


def test_without_a_bus_nothing_is_collected(settings, instance):
    resources = {"warehouse": resource(settings)}
    with dg.build_schedule_context(instance=instance, resources=resources) as context:
        skipped = collect_regularly(context)
    assert "ET_NATS_URL is not set" in skipped.skip_message
    with pytest.raises(SettingsError, match="ET_NATS_URL is not set"):
        bus_snapshot(settings)
