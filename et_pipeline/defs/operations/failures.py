"""Reports failed runs and checks that did not pass to people, as log lines and notices."""

import dagster as dg

from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import EACH
from et_pipeline.governance.notices import FailedCheck
from et_pipeline.settings import Settings

WITH_OWN_TOPIC = ("announced_verdict_follows", "not_stalled")
"""Checks that have notices with topics of their own."""


@dg.run_failure_sensor(
    name="tell_failures",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes an error line into the log (ET_LOG) and a notice for people for every failed run, with its "
    "job, step and error.",
)
def tell_failures(context: dg.RunFailureSensorContext, warehouse: Warehouse) -> None:
    """Reports the first error of each failed step, or the run's own error if it died between steps."""
    steps = {str(event.step_key): cause(event) for event in context.get_step_failure_events()}
    report_failure(
        warehouse.settings, context.dagster_run, steps or {"": context.failure_event.message or ""}
    )


def report_failure(settings: Settings, run: dg.DagsterRun, steps: dict[str, str]) -> None:
    """Writes the log line and the notice of one failed run.

    Args:
        settings: The places of log and warehouse.
        run: The run.
        steps: The error of each failed step.
    """
    import duckdb

    from et_pipeline.governance.notices import run_failed
    from et_pipeline.publishing.log import logger
    from et_pipeline.warehouse.connection import WarehouseError, open_warehouse, transaction

    log = logger(settings)
    errors = "; ".join(f"{step}: {error}" if step else error for step, error in steps.items())
    log.error("run failed", run_id=run.run_id, job=run.job_name, error=errors)
    try:
        with open_warehouse(settings) as connection, transaction(connection):
            for step, error in steps.items():
                run_failed(connection, run.job_name, step, error, settings.now())
    except (WarehouseError, duckdb.Error) as error:  # the disk may be full, which failed the run too
        log.error("nobody is told of a failed run", run_id=run.run_id, job=run.job_name, error=str(error))


def cause(event: dg.DagsterEvent) -> str:
    """The error that a step raised, which says what to do, and its first cause, if that is another error."""
    error = event.step_failure_data.error
    if error is None:
        return event.message or ""
    raised = first = error.cause or error  # Dagster's own wrapper is the outermost
    while first.cause is not None:
        first = first.cause
    message = raised.message.strip()
    return message if first is raised else f"{message} (first cause: {first.message.strip()})"


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[FailedCheck]:
    """The checks that did not pass in a run, without those in `WITH_OWN_TOPIC`."""
    found = []
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = entry.get_dagster_event().asset_check_evaluation_data
        if check.passed or check.check_name in WITH_OWN_TOPIC:
            continue
        each = check.metadata.get(EACH)
        problems = [check.description or "see the Dagster UI"]
        if isinstance(each, dg.JsonMetadataValue) and isinstance(each.data, list):
            problems = [str(problem) for problem in each.data]
        name = f"{check.asset_key.to_user_string()}.{check.check_name}"
        warns = check.severity == dg.AssetCheckSeverity.WARN
        found.append(FailedCheck(name, warns, tuple(problems)))
    return found
