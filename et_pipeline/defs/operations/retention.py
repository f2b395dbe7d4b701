"""Deletes old runs: `dagster.yaml` only purges ticks of sensors and schedules, and runs would be kept for ever."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

BATCH = 200
"""Largest number of runs that one run of the job deletes; the others are deleted on the next days."""
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


class Retention(dg.Config):
    """How long runs are kept."""

    keep_days: int = Field(default=30, ge=1, description="Runs older than this number of days are deleted.")


def expired(instance: dg.DagsterInstance, before: datetime) -> list[str]:
    """Runs that may be deleted: they have ended, are old enough, and are not the newest success of their job.

    The newest success is kept, whatever its age, since it has the last row counts, checks and plots of the assets.

    Args:
        instance: The Dagster instance.
        before: Only runs that were created before this time may be deleted.

    Returns:
        Ids of at most `BATCH` runs, the oldest first.
    """
    old = instance.get_run_records(
        dg.RunsFilter(statuses=ENDED, created_before=before), limit=BATCH, ascending=True
    )
    kept = set()
    for job in {record.dagster_run.job_name for record in old}:
        newest = instance.get_runs(
            dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS]), limit=1
        )
        kept |= {run.run_id for run in newest}
    return [record.dagster_run.run_id for record in old if record.dagster_run.run_id not in kept]


@dg.op(
    out=dg.Out(int, description="Runs deleted."), description="Deletes runs that are older than keep_days."
)
def delete_old_runs(context: dg.OpExecutionContext, config: Retention) -> int:
    """Deletes runs, their events and their captured logs; tables and published files are not changed."""
    instance = context.instance
    gone = expired(instance, datetime.now(UTC) - timedelta(days=config.keep_days))
    for run_id in gone:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    context.log.info(f"{len(gone)} runs older than {config.keep_days} days deleted")
    return len(gone)


@dg.job(
    description="Deletes old runs. The configuration of its op says how many days are kept.",
    executor_def=dg.in_process_executor,
)
def clean_up() -> None:
    """One op, so that its configuration can be given in the launchpad."""
    delete_old_runs()


clean_up_daily = dg.ScheduleDefinition(
    name="clean_up_daily",
    job=clean_up,
    cron_schedule="10 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Deletes runs older than 30 days, every night. Each job's newest successful run stays.",
)
