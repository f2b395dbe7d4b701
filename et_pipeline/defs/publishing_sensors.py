"""What starts a delivery: a verdict, and messages that still wait; and what reads the bus."""

import hashlib
from datetime import UTC, datetime

import dagster as dg

from et_pipeline.defs.publishing import collect
from et_pipeline.defs.resource import Warehouse

RETRY_WINDOW_S = 600
"""A run that died before it recorded anything is started again after so long."""


@dg.asset_sensor(
    asset_key=dg.AssetKey("verdicts"),
    job_name="publish",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers as soon as verdicts were materialised; one delivery a tick.",
)
def publish_when_decided(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
    """The run key is the tick's run, which materialises one partition after the other."""
    return dg.RunRequest(run_key=f"verdicts:{asset_event.run_id}")


@dg.sensor(
    job_name="publish",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Delivers what is due again: failed before, brought back by an operator, or left by a crash.",
)
def publish_pending(
    context: dg.SensorEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """The run key is the state of what is due, so the same state starts one run; a dead run gets another."""
    from dataclasses import replace

    from et_pipeline.publishing.outbox import pending
    from et_pipeline.warehouse.connection import WarehouseError, open_warehouse

    settings = warehouse.settings
    if not settings.warehouse_path.exists():
        return dg.SkipReason("no tick has run yet")
    now = datetime.now(UTC)
    try:
        with open_warehouse(replace(settings, lock_timeout_s=1)) as connection:
            due = pending(connection, now=now)
    except WarehouseError as error:
        return dg.SkipReason(f"looked in vain: {error}")
    if not due:
        return dg.SkipReason("nothing is due")
    state = [f"{item.message.event_id} {item.destination} {item.attempt}" for item in due]
    digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
    return dg.RunRequest(run_key=f"pending:{digest}:{int(now.timestamp()) // RETRY_WINDOW_S}")


@dg.schedule(
    job=collect,
    cron_schedule="* * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads the report bus on NATS every minute, where one is connected (ET_NATS_URL).",
)
def collect_regularly(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """One run a minute; the run key is the minute."""
    if warehouse.settings.nats is None:
        return dg.SkipReason("ET_NATS_URL is not set: snapshots come into the folder by other means")
    moment = context.scheduled_execution_time or datetime.now(UTC)
    return dg.RunRequest(run_key=moment.isoformat())
