"""A failed run writes one line that names job, step, error and first cause."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg

from et_pipeline.defs.operations.failures import tell_failures
from et_pipeline.defs.resource import Warehouse


@dg.op
def trip() -> None:
    try:
        raise OSError("no space left on device")
    except OSError as error:
        raise RuntimeError("the copy was not written") from error


@dg.job(executor_def=dg.in_process_executor)
def tick() -> None:
    trip()


def test_a_line_names_job_step_what_was_raised_and_the_first_cause(tmp_path: Path) -> None:
    log = tmp_path / "log.ndjson"
    warehouse = Warehouse(environment={"ET_DATA_DIR": str(tmp_path), "ET_LOG": str(log)})
    with dg.DagsterInstance.ephemeral() as instance:
        failed = tick.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="tell_failures",
            dagster_instance=instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
            resources={"warehouse": warehouse},
        ).for_run_failure()
        with context:
            tell_failures(context)
    (line,) = log.read_text().splitlines()
    told = json.loads(line)
    assert (told["level"], told["event"], told["job"]) == ("error", "run failed", "tick")
    assert told["run_id"] == failed.run_id
    said = "RuntimeError: the copy was not written (first cause: OSError: no space left on device)"
    assert told["error"] == f"trip: {said}"
