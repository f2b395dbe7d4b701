"""What starts a tick: a sensor on the inputs and a schedule, with the request that `et tick` uses too."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg

from et_pipeline.contracts.plan import read_plans
from et_pipeline.defs.partitions import EXPERIMENT_PARTITIONS, EXPERIMENTS
from et_pipeline.defs.resource import INPUTS_TAG, Warehouse
from et_pipeline.due import due, fingerprint, read_last_tick
from et_pipeline.settings import Settings

EVERY_ROUND_S = 3
"""Interval of sensors, shorter than the five seconds between two rounds of the daemon, so that they run in each
round."""
WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
RETRY_WINDOW_S = 600
"""Seconds after which a tick is requested again, if the last one did not make what was due."""


class TickRequest(NamedTuple):
    """One tick: a single run over all experiments.

    Attributes:
        inputs: Fingerprint of the inputs for which it is started.
        new_experiments: Partitions of `experiment` to add before it starts.
    """

    inputs: str
    new_experiments: list[str]

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags."""
        return {INPUTS_TAG: self.inputs}


def tick_request(settings: Settings, inputs: str, partitions: Sequence[str]) -> TickRequest:
    """The request for a tick now.

    Args:
        settings: The place of the plans.
        inputs: Fingerprint of the inputs.
        partitions: The existing partitions of `experiment` in Dagster.
    """
    plans, _ = read_plans(settings.experiments_dir)
    return TickRequest(inputs, sorted({plan.experiment_id for plan in plans.values()} - set(partitions)))


def prepare_tick(settings: Settings, inputs: str, instance: dg.DagsterInstance) -> TickRequest:
    """The request for a tick now, after its new partitions were added; see `tick_request`."""
    known = instance.get_dynamic_partitions(EXPERIMENT_PARTITIONS)
    request = tick_request(settings, inputs, known)
    if request.new_experiments:
        instance.add_dynamic_partitions(EXPERIMENT_PARTITIONS, request.new_experiments)
    return request


def _run_request(request: TickRequest, run_key: str) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key, tags=request.tags)


@dg.sensor(
    job_name="tick",
    minimum_interval_seconds=EVERY_ROUND_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a tick when a snapshot, plan or sign-off appears or changes, when a certain time has come, "
    "or when a published file is missing.",
)
def new_inputs(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult | dg.SkipReason:
    """Requests a tick if one is due. The cursor is the last request, so that a restart repeats nothing."""
    settings = warehouse.settings
    inputs, last = fingerprint(settings), read_last_tick(settings)
    if not due(settings, inputs, last):
        return dg.SkipReason("nothing is new: every snapshot, plan and sign-off is in the warehouse already")
    run_key = inputs
    if last is not None and last.inputs == inputs:
        # A tick is due because of the time, or because a published file is missing. It is requested again after a while
        # in case the first tick does not succeed.
        woken = settings.now() >= last.wake_at
        run_key += (
            f"@{last.wake_at.isoformat() if woken else int(settings.now().timestamp()) // RETRY_WINDOW_S}"
        )
    if context.cursor == run_key:
        return dg.SkipReason("a tick for these inputs was requested already")
    if context.instance.get_runs_count(dg.RunsFilter(job_name="tick", statuses=WAITING)):
        # So no queue forms if files come faster than ticks end. Files that the waiting tick does not see make another
        # one due after it.
        return dg.SkipReason("a tick waits to start and will read these inputs")
    known = context.instance.get_dynamic_partitions(EXPERIMENT_PARTITIONS)
    request = tick_request(settings, inputs, known)
    return dg.SensorResult(
        run_requests=[_run_request(request, run_key)],
        dynamic_partitions_requests=(
            [EXPERIMENTS.build_add_request(request.new_experiments)] if request.new_experiments else []
        ),
        cursor=run_key,
    )


@dg.schedule(
    job_name="tick",
    cron_schedule="*/15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Starts a tick every quarter of an hour, also if the sensor saw nothing, so that outages and new "
    "days are noticed in time.",
)
def regular_ticks(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """One run over every experiment, unless nothing at all is due."""
    settings = warehouse.settings
    inputs = fingerprint(settings)
    if not due(settings, inputs, read_last_tick(settings)):
        return dg.SkipReason("nothing is due")
    request = prepare_tick(settings, inputs, context.instance)
    moment = context.scheduled_execution_time or datetime.now(UTC)
    return _run_request(request, f"{request.inputs}@{moment.isoformat()}")
