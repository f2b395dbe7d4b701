"""A run that failed leaves a line in the log that people and their alerts watch."""

import dagster as dg

from et_pipeline.defs.resource import Warehouse


@dg.run_failure_sensor(
    name="tell_failures",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes an error line into the log (ET_LOG) for every run that failed: job, step, error.",
)
def tell_failures(context: dg.RunFailureSensorContext, warehouse: Warehouse) -> None:
    """The first error of each failed step, or the run's own where it died between steps."""
    from et_pipeline.publishing.log import logger

    run = context.dagster_run
    steps = {event.step_key: _cause(event) for event in context.get_step_failure_events()}
    logger(warehouse.settings).error(
        "run failed",
        run_id=run.run_id,
        job=run.job_name,
        error="; ".join(f"{step}: {error}" for step, error in steps.items()) or context.failure_event.message,
    )


def _cause(event: dg.DagsterEvent) -> str:
    """What went wrong first, without the frames: the run's page has those."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else event.message or ""
