"""`et tick`: one run of the real Dagster job over new inputs, then the delivery of its messages."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.commands.terminal import CommandError
from et_pipeline.due import due, fingerprint, metrics_follow, read_last_tick
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


LOCATION = "et_pipeline.definitions"
"""Name of the code location that `et ui`, the service files and `workspace.yaml` load."""
IN_JOB_HISTORY = {
    ".dagster/repository": f"__repository__@{LOCATION}",
    "dagster/code_location": LOCATION,
    "et/started_by": "et tick",
}
"""Tags with which the UI lists a run among those of its job, and shows that a command and not a sensor started it."""


class TickOutcome(NamedTuple):
    """The result of a tick.

    Attributes:
        due: Whether there was anything to do; if not, no run was started.
        run_id: The Dagster run.
        messages: Number of messages that it delivered.
        failed_checks: Checks that did not pass, as `asset.check: description`.
        failures: A sentence for every experiment for which a stage raised an error; the others went on.
    """

    due: bool
    run_id: str | None
    messages: int
    failed_checks: list[str]
    failures: list[str]


def dagster_home(settings: Settings) -> Path:
    """The folder of runs and schedules: DAGSTER_HOME, or `dagster/` in the data folder, which is created if necessary.

    Raises:
        CommandError: Dagster cannot have its storage in a folder with this name.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or settings.data_dir / "dagster").absolute()
    if re.search(r"\?|%[0-9A-Fa-f]{2}", str(home)):
        # Dagster puts the path into the address of an SQLite database without escaping these characters.
        raise CommandError(
            f"Dagster cannot keep its storage in {home}: the path contains a ?, or a % followed by two hexadecimal "
            "digits; give the folder another name, or set DAGSTER_HOME to another folder"
        )
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        packaged = Path(__file__).parent.parent / "defs" / "dagster.yaml"
        shutil.copyfile(packaged, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the data folder, which the UI shows too.

    Raises:
        CommandError: Its storage cannot be used.
    """
    home = dagster_home(settings)
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with dg.DagsterInstance.get() as found:
            yield found
    except SQLAlchemyError as error:
        raise CommandError(
            f"Dagster's storage ({home}) cannot be used: {getattr(error, 'orig', error)}; check whether the disk is "
            "full, "
            "and whether you may write into the folder"
        ) from error


def tick(
    settings: Settings,
    *,
    force: bool = False,
    verbose: bool = False,
    say: Callable[[str], None] = lambda words: None,
) -> TickOutcome:
    """Runs the job `tick` over new inputs and delivers pending messages.

    Args:
        settings: The data folder.
        force: Whether to run although nothing is due.
        verbose: Whether to show Dagster's own log.
        say: Called with sentences about the progress, for people who wait.

    Raises:
        CommandError: The run failed; the message names the step and its error.
    """
    inputs = fingerprint(settings)
    wanted = force or due(settings, inputs, read_last_tick(settings))
    unfinished, failures = (True, []) if wanted else _unfinished(settings)
    if not unfinished:
        return TickOutcome(False, None, 0, [], failures)
    if not settings.data_dir.is_dir():
        raise CommandError(f"{settings.data_dir} is not a folder; set ET_DATA_DIR, or start with: et demo")

    say("Starting Dagster")
    from et_pipeline.definitions import defs

    run_id, delivered, failed = None, 0, list[str]()
    loggers = {"loggers": {"console": {"config": {"log_level": "INFO" if verbose else "CRITICAL"}}}}
    with instance(settings) as found:
        try:
            if wanted:
                run_id, delivered, failed = _run_tick(settings, inputs, found, loggers, say)
                unfinished, failures = _unfinished(settings)
        finally:  # also after an error, so that people are notified of a failed run at once
            if unfinished:
                say("Delivering messages")
                publish = defs.resolve_job_def("publish").execute_in_process(
                    instance=found, tags=IN_JOB_HISTORY, run_config=loggers, raise_on_error=False
                )
        if unfinished:
            if not publish.success:
                raise _failure(settings, publish)
            delivered += int(publish.output_for_node("deliver_events", "result"))
            _, failures = _unfinished(settings)
    return TickOutcome(wanted, run_id, delivered, failed, failures)


def _unfinished(settings: Settings) -> tuple[bool, list[str]]:
    """Whether a message is due, or a delivery or the tick was not published yet; and the present failures."""
    from et_pipeline.experiments.failures import sentences
    from et_pipeline.insight.publish import holds
    from et_pipeline.insight.published import pages_follow
    from et_pipeline.publishing.outbox import not_addressed, pending
    from et_pipeline.warehouse.connection import block_size, connected, locked

    with locked(settings) as warehouse:
        with connected(settings, warehouse) as connection:
            waiting = pending(connection, now=settings.now()) or not_addressed(connection)
            failures = sentences(connection)
            size = block_size(connection)
        current = holds(settings, warehouse, size)
    followed = current and pages_follow(settings) and metrics_follow(settings)
    return bool(waiting) or not followed, failures


def _run_tick(
    settings: Settings,
    inputs: str,
    found: dg.DagsterInstance,
    run_config: dict[str, Any],
    say: Callable[[str], None],
) -> tuple[str, int, list[str]]:
    """Runs the job `tick`; returns its run, how many messages it delivered, and the checks that did not pass.

    Raises:
        CommandError: The run failed.
    """
    from et_pipeline.definitions import defs
    from et_pipeline.defs.ticks import prepare_tick

    request = prepare_tick(settings, inputs, found)
    run_id = str(uuid.uuid4())
    found.add_event_listener(run_id, lambda event: _report_progress(event, say))
    result = defs.resolve_job_def("tick").execute_in_process(
        instance=found,
        tags={**request.tags, **IN_JOB_HISTORY},
        run_config=run_config,
        raise_on_error=False,
        run_id=run_id,
    )
    if not result.success:
        raise _failure(settings, result)
    failed = [
        f"{check.asset_key.to_user_string()}.{check.check_name}: {check.description or 'see the Dagster UI'}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    ]
    (deliveries,) = result.asset_materializations_for_node("deliveries")
    return result.run_id, int(str(deliveries.metadata["delivered"].value)), failed


STEPS = {
    "experiments": "Reading the plans",
    "ingest": "Reading the snapshots",
    "sign_offs": "Checking sign-offs",
    "pairing": "Pairing reports",
    "cells": "Adding up pairs",
    "evidence": "Computing intervals",
    "governance": "Deciding about experiments",
    "deliveries": "Delivering messages",
    "analyst_database": "Publishing the analyst database",
    "review_pages": "Drawing the review pages",
    "last_tick": "Recording what changed",
}
"""The words that describe each step of a tick, for people who wait."""


def _report_progress(event: dg.EventLogEntry, say: Callable[[str], None]) -> None:
    """Reports the progress of a run: the step that starts, and the lines that the step logs."""
    if event.step_key is None:
        return
    words = STEPS.get(event.step_key, event.step_key)
    if not event.is_dagster_event:
        say(f"{words}: {event.user_message.removeprefix(f'{event.step_key}: ')}")
    elif event.get_dagster_event().event_type_value == "STEP_START":
        say(f"{words} …")


def _failure(settings: Settings, result: dg.ExecuteInProcessResult) -> CommandError:
    """The first failed step and its error, for people. It is also recorded, like the failure of a run of the daemon."""
    from et_pipeline.defs.operations.failures import cause, report_failure

    steps = {str(event.step_key): cause(event) for event in result.all_events if event.is_step_failure}
    report_failure(settings, result.dagster_run, steps or {"": ""})
    for step, error in steps.items():
        return CommandError(f"run {result.run_id} failed in {step}: {error}")
    return CommandError(f"run {result.run_id} failed; see it in the Dagster UI (et ui)")
