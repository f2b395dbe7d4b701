"""Delivers messages of the outbox, within a tick or by the job `publish`; reads the bus by the job `collect`; and
defines what starts these two jobs.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from et_pipeline.defs.resource import POOL as WAREHOUSE_POOL
from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import bullets, materialized, spec
from et_pipeline.defs.ticks import EVERY_ROUND_S

DELIVERIES = """Every attempt to deliver a message, and what became of it.

A tick itself delivers what goes to files, before it publishes. Messages to a real bus or registry may have to wait, and
a tick must not wait with them. So the job `publish` follows and delivers these.

    SELECT event_id, destination, attempt, status, detail FROM deliveries ORDER BY attempted_at;
"""
POOL = "publishing"
"""One run at a time delivers. It is not the warehouse's pool, so that waiting for a network does not block a tick."""
PATIENCE = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL)
"""Retries for the case that the warehouse is busy for a long time; destinations have their own backoff."""
SHOWN = 50
RETRY_WINDOW_S = 600
"""Seconds after which a run that was killed before it recorded anything is started again."""


@dg.multi_asset(
    name="deliveries",
    specs=[spec("deliveries", group="governance", deps=["events"], description=DELIVERIES)],
    pool=WAREHOUSE_POOL,
)
def deliveries(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any]]:
    """Delivers the messages whose destination needs no waiting."""
    from et_pipeline.publishing.delivery import deliver_to_files

    with warehouse.open() as connection:
        delivered = len(deliver_to_files(connection, warehouse.settings).outcomes)
        context.log.info(f"{delivered} messages delivered to files")
        yield materialized(connection, "deliveries", delivered=delivered)


@dg.op(
    out=dg.Out(int, description="Messages due now."),
    description="Writes the messages to people, and reads which messages are due.",
    pool=POOL,
    retry_policy=PATIENCE,
    tags={"dagster/kind/duckdb": ""},
)
def pending_events(context: dg.OpExecutionContext, warehouse: Warehouse) -> int:
    """Lists the due messages, so that the run shows what it is going to deliver."""
    from et_pipeline.publishing.directory import DirectoryError
    from et_pipeline.publishing.outbox import pending
    from et_pipeline.publishing.people import address

    now = datetime.now(UTC)
    with warehouse.open() as connection:
        try:
            address(connection, warehouse.settings, now)
        except DirectoryError as error:
            context.log.error(
                f"no message can be sent to people: {error}"
            )  # other messages are delivered, and the last op fails
        due = pending(connection, now=now)
    lines = [f"{item.message.event_id} {item.message.kind} → {item.destination}" for item in due[:SHOWN]]
    context.add_output_metadata({"due": len(due), "first": bullets(lines)})
    return len(due)


@dg.op(
    out={
        "result": dg.Out(int, description="Messages delivered."),
        "left_behind": dg.Out(int, description="Messages that this round could not deliver."),
    },
    description="Sends the messages that are due and records the results. Each event id is delivered at least once.",
    pool=POOL,
    retry_policy=PATIENCE,
)
def deliver_events(
    context: dg.OpExecutionContext, warehouse: Warehouse, due: int
) -> Iterator[dg.Output[int]]:
    """Delivers the due messages. It does not fail if a destination cannot be reached; the last op reports that."""
    if due == 0:
        yield dg.Output(0, "result")
        yield dg.Output(0, "left_behind")
        return
    from et_pipeline.publishing.delivery import deliver

    delivery = deliver(warehouse.settings)
    for outcome in delivery.outcomes:
        line = f"{outcome.event_id} → {outcome.destination}: {outcome.status}, {outcome.detail}"
        write = context.log.info if outcome.status == "delivered" else context.log.error
        write(line)
    by_status = {status: len(delivery.with_status(status)) for status in ("delivered", "failed", "dead")}
    yield dg.Output(by_status["delivered"], "result", metadata=by_status)
    yield dg.Output(by_status["failed"] + by_status["dead"], "left_behind")


@dg.op(
    ins={"delivered": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Writes `published/metrics.prom` for the operators' Prometheus.",
    pool=POOL,
    retry_policy=PATIENCE,
)
def house_metrics(context: dg.OpExecutionContext, warehouse: Warehouse) -> None:
    """Writes the metrics, also if something failed, since they are most important then."""
    from et_pipeline.publishing.house_metrics import write_metrics

    settings = warehouse.settings
    with warehouse.open() as connection:
        path = write_metrics(connection, settings)
    context.add_output_metadata({"path": dg.MetadataValue.path(str(path))})


@dg.op(
    ins={"published": dg.In(dg.Nothing)},
    description="Fails the run if a message could not be delivered or addressed, so that a person sees it.",
    pool=POOL,
)
def delivery_report(context: dg.OpExecutionContext, warehouse: Warehouse, left_behind: int) -> None:
    """Logs the numbers of messages by status; raises an error if this round could not deliver all of them."""
    from et_pipeline.publishing.directory import DirectoryError, read_directory
    from et_pipeline.publishing.outbox import counts, dead_letters, not_addressed

    with warehouse.open() as connection:
        standing = counts(connection)
        dead = dead_letters(connection)
        waiting = len(not_addressed(connection))
    context.log.info(f"messages by destination and status: {standing}")
    if left_behind:
        lines = [f"{letter.event_id} → {letter.destination}: {letter.detail}" for letter in dead[:SHOWN]]
        raise dg.Failure(
            description=(
                f"{left_behind} messages could not be delivered this time; {len(dead)} messages in all are dead "
                "letters and "
                "wait for `et outbox redeliver`, and the others are tried again by themselves"
            ),
            metadata={"dead_letters": bullets(lines)},
            allow_retries=False,
        )
    if waiting:
        try:
            read_directory(warehouse.settings)
        except DirectoryError as error:
            raise dg.Failure(
                f"{waiting} messages to people wait and cannot be sent: {error}", allow_retries=False
            ) from None


@dg.op(
    description="Reads all new messages of the report bus on NATS into snapshot files.",
    pool="report_bus",
    out=dg.Out(int, description="Messages taken."),
)
def take_bus_snapshots(context: dg.OpExecutionContext, warehouse: Warehouse) -> int:
    """Reads the bus; if it cannot be reached, this is recorded as an outage and the run fails."""
    from et_pipeline.publishing.bus_snapshot import bus_snapshot
    from et_pipeline.publishing.destinations import UnavailableError

    try:
        taken = bus_snapshot(warehouse.settings)
    except UnavailableError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    files = bullets(item.path.name for item in taken if item.path)
    context.add_output_metadata({"files": files, "lines": sum(item.lines for item in taken)})
    return sum(item.messages for item in taken)


@dg.job(
    description="Reads reports from the bus on NATS into snapshot files, which a tick then reads.",
    executor_def=dg.in_process_executor,
    tags={"dagster/max_runtime": 1800},
)
def collect() -> None:
    """The bus → `report_bus/nats/`."""
    take_bus_snapshots()


@dg.asset_sensor(
    asset_key=dg.AssetKey("last_tick"),
    job_name="publish",
    minimum_interval_seconds=EVERY_ROUND_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers the messages that a tick left over: those over a network and to people. One delivery per "
    "tick.",
)
def publish_when_decided(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
) -> dg.RunRequest | dg.SkipReason:
    """Starts `publish` after a tick that left messages. The run key is the tick's run.

    A tick of an older version does not say what it left, so it always starts a run.
    """
    tick = asset_event.asset_materialization
    left = None if tick is None else tick.metadata.get("left")
    if left is not None and left.value == 0:
        return dg.SkipReason("the tick delivered everything itself")
    return dg.RunRequest(run_key=f"tick:{asset_event.run_id}")


@dg.sensor(
    job_name="publish",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers messages that are due again: failed ones, those that an operator made pending, and those "
    "left by a crash.",
)
def publish_pending(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Starts `publish` if messages are due. The run key is a hash of these, so that each state starts only one run.

    If that run was killed, another one is started after `RETRY_WINDOW_S`.
    """
    from dataclasses import replace

    from et_pipeline.publishing.outbox import not_addressed, pending
    from et_pipeline.warehouse.connection import WarehouseError, open_warehouse

    settings = warehouse.settings
    if not settings.warehouse_path.exists():
        return dg.SkipReason("no tick has run yet")
    now = datetime.now(UTC)
    try:
        with open_warehouse(replace(settings, lock_timeout_s=1)) as connection:
            due = pending(connection, now=now)
            state = not_addressed(connection)
    except WarehouseError as error:
        return dg.SkipReason(f"the warehouse could not be opened: {error}")
    state += [f"{item.message.event_id} {item.destination} {item.attempt}" for item in due]
    if not state:
        return dg.SkipReason("nothing is due")
    digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
    return dg.RunRequest(run_key=f"pending:{digest}:{int(now.timestamp()) // RETRY_WINDOW_S}")


@dg.schedule(
    job=collect,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads the report bus on NATS every minute, if one is connected (ET_NATS_URL).",
)
def collect_regularly(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """One run per minute; the run key is the minute."""
    if warehouse.settings.nats is None:
        return dg.SkipReason("ET_NATS_URL is not set, so snapshots come into the folder in another way")
    moment = context.scheduled_execution_time or datetime.now(UTC)
    return dg.RunRequest(run_key=moment.isoformat())
