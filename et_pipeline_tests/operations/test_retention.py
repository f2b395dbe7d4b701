"""Old runs are deleted with their events and logs; the newest results of the assets are kept."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from et_pipeline.defs.operations.retention import clean_up, expired

TOMORROW = timedelta(days=1)


@dg.op
def speak(context: dg.OpExecutionContext) -> None:
    print("something for the captured logs")
    if context.run.tags.get("wrong"):
        raise RuntimeError("as asked")


@dg.job(executor_def=dg.in_process_executor)
def tick() -> None:
    speak()


@dg.job(executor_def=dg.in_process_executor)
def publish() -> None:
    speak()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with files, as in production without Postgres."""
    with dg.DagsterInstance.local_temp(str(tmp_path), {"telemetry": {"enabled": False}}) as found:
        yield found


def run(job: dg.JobDefinition, instance: dg.DagsterInstance, **tags: str) -> str:
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags).run_id


def test_the_newest_success_of_each_job_stays(instance: dg.DagsterInstance) -> None:
    first, second = run(tick, instance), run(tick, instance)
    failed = run(tick, instance, wrong="yes")
    other = run(publish, instance)
    tomorrow = datetime.now(UTC) + TOMORROW
    assert expired(instance, tomorrow) == [first, failed]
    assert {second, other} < {found.run_id for found in instance.get_runs()}


def test_young_runs_stay(instance: dg.DagsterInstance) -> None:
    run(tick, instance)
    run(tick, instance)
    assert expired(instance, datetime.now(UTC) - TOMORROW) == []


def test_the_job_deletes_runs_events_and_logs(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, kept = run(tick, instance), run(tick, instance)
    assert (tmp_path / "storage" / old).is_dir()

    class InTwoMonths(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(days=60)

    monkeypatch.setattr("et_pipeline.defs.operations.retention.datetime", InTwoMonths)
    done = clean_up.execute_in_process(instance=instance)
    assert done.output_for_node("delete_old_runs") == 1
    assert instance.get_run_by_id(old) is None
    assert not (tmp_path / "storage" / old).exists()
    assert list(instance.all_logs(old)) == []
    assert instance.get_run_by_id(kept) is not None


def test_a_day_is_the_least_that_is_kept(instance: dg.DagsterInstance) -> None:
    done = clean_up.execute_in_process(
        instance=instance,
        run_config={"ops": {"delete_old_runs": {"config": {"keep_days": 0}}}},
        raise_on_error=False,
    )
    (failure,) = done.get_step_failure_events()
    assert "keep_days" in str(failure.step_failure_data.error)
