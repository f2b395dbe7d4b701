"""Does a stage's work for every experiment in a Dagster step: failures are logged and recorded, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import dagster as dg

from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import check_result
from et_pipeline.experiments.failures import Failure, Stage, each
from et_pipeline.experiments.registered import registered_ids
from et_pipeline.publishing.log import logger

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

EVERY_EXPERIMENT_WORKS = dg.AssetCheckSpec(
    "every_experiment_works",
    asset="review_pages",
    description="No stage raised an error for an experiment; the table `failures` has the errors.",
)


def each_experiment(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    connection: duckdb.DuckDBPyConnection,
    stage: Stage,
    work: Callable[[list[str]], T],
) -> list[T]:
    """Does a stage's work for every registered experiment, see `failures.each`.

    Returns:
        The results of the work, one for each group of experiments for which it was done.
    """
    outcomes, failures = each(connection, warehouse.settings.now(), stage, registered_ids(connection), work)
    log_failures(context.log, warehouse, failures)
    return outcomes


def log_failures(log: dg.DagsterLogManager, warehouse: Warehouse, failures: Iterable[Failure]) -> None:
    """Writes failures into the run's log, with their traceback, and into the log that people watch."""
    for failure in failures:
        log.error(f"{failure.sentence}\n{failure.traceback}")
        logger(warehouse.settings).error(
            "experiment failed",
            experiment_id=failure.experiment_id,
            stage=failure.stage,
            error=failure.error,
        )


def every_experiment_works(failing: Sequence[str]) -> dg.AssetCheckResult:
    """Fails if a stage raised an error for an experiment and has not worked for it since."""
    return check_result("review_pages", "every_experiment_works", failing, "no experiment raised an error")
