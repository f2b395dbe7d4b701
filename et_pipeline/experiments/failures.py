"""An error in one experiment does not stop the others: it is recorded, and the work goes on for all others.

Each stage of a tick does its work for many experiments at once. If that raises an error, the work is done again for
each half of them, and so on, until only those experiments are left out that raise an error by themselves. They are
recorded in the table `failures` until the stage works for them again. The later stages of the tick leave them out,
since their figures are not up to date.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from et_pipeline.common.times import naive_utc
from et_pipeline.warehouse.connection import WarehouseError, transaction

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

Stage = Literal["plan", "sign_offs", "pairing", "cells", "evidence", "decision", "page"]
STAGES: dict[Stage, str] = {
    "plan": "its plan could not be registered or read again",
    "sign_offs": "the program could not decide whether it may be sampled",
    "pairing": "its reports could not be paired",
    "cells": "its pairs could not be counted",
    "evidence": "its intervals could not be computed",
    "decision": "its verdict could not be determined",
    "page": "its page could not be drawn",
}
"""The stages in their order, each with the words that say what its failure means."""


class Failure(NamedTuple):
    """The error that one stage raised for one experiment.

    Attributes:
        experiment_id: The experiment.
        stage: A key of `STAGES`.
        error: Type and message of the error, in one line.
        traceback: Where it was raised, for the person who corrects it.
    """

    experiment_id: str
    stage: Stage
    error: str
    traceback: str

    @property
    def sentence(self) -> str:
        """The failure in one sentence for people."""
        return f"{self.experiment_id}: {STAGES[self.stage]}: {self.error}"


def attempt(
    stage: Stage, experiments: Sequence[str], work: Callable[[list[str]], T]
) -> tuple[list[T], list[Failure]]:
    """Does a stage's work for experiments and leaves out those for which it raises an error.

    Args:
        stage: The stage.
        experiments: Their ids. If there are none, the work is done once with an empty list, and its error is raised.
        work: Does the work for some experiments, completely or not at all: if it raises an error, it must have changed
            nothing.

    Returns:
        The results of the work, one for each group of experiments for which it was done, and the failures.

    Raises:
        OSError, duckdb.IOException, MemoryError, WarehouseError: These are errors of the machine and not of an
            experiment; a full disk would otherwise be recorded as the error of every experiment.
    """
    import duckdb

    try:
        return [work(list(experiments))], []
    except (OSError, MemoryError, WarehouseError, duckdb.IOException, duckdb.OutOfMemoryException):
        raise
    # This is the only place that catches every exception. No list of the errors that a plan, a report or a fault of
    # this program may cause can be complete, and none of them may stop the other experiments. The error is not hidden:
    # it is recorded in `failures`, in the log, on the page and in `et status`, and `et tick` ends with status 1.
    except Exception as error:
        if not experiments:
            raise
        if len(experiments) == 1:
            return [], [_failure(stage, experiments[0], error)]
    half = len(experiments) // 2
    parts = [attempt(stage, part, work) for part in (experiments[:half], experiments[half:])]
    return [done for results, _ in parts for done in results], [bad for _, found in parts for bad in found]


def each(
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
    stage: Stage,
    experiments: Sequence[str],
    work: Callable[[list[str]], T],
) -> tuple[list[T], list[Failure]]:
    """Does a stage's work like `attempt`, leaves out what failed in an earlier stage, and records the failures.

    Experiments that failed in the last tick are tried separately. So a failure that lasts does not make every tick do
    its work several times.

    Args:
        connection: The warehouse, outside any transaction.
        now: The moment of the tick.
        stage: The stage.
        experiments: The experiments of the stage.
        work: Does the work for some experiments, completely or not at all.

    Returns:
        The results of the work, one for each group of experiments for which it was done, and the failures.
    """
    order = list(STAGES)
    failing = connection.execute("SELECT experiment_id, stage FROM failures").fetchall()
    held = {name for name, at in failing if order.index(at) < order.index(stage)}
    again = {name for name, at in failing if at == stage}
    wanted = [name for name in experiments if name not in held]
    groups = [[name for name in wanted if name not in again], *([name] for name in wanted if name in again)]
    parts = [attempt(stage, group, work) for group in groups]
    failures = [bad for _, found in parts for bad in found]
    results = [done for found, _ in parts for done in found] or [work([])]
    note(connection, now, stage, experiments, failures)
    return results, failures


def note(
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
    stage: Stage,
    experiments: Sequence[str],
    failures: Sequence[Failure],
) -> bool:
    """Updates the table `failures` for the experiments of a stage, in one transaction.

    Returns:
        Whether anything changed.
    """
    rows = connection.execute(
        "SELECT experiment_id, since, error FROM failures WHERE stage = ? AND list_contains(?, experiment_id)",
        [stage, list(experiments)],
    ).fetchall()
    if {(name, error) for name, _, error in rows} == {(bad.experiment_id, bad.error) for bad in failures}:
        return False
    since = {name: moment for name, moment, _ in rows}
    with transaction(connection):
        connection.execute(
            "DELETE FROM failures WHERE stage = ? AND list_contains(?, experiment_id)",
            [stage, list(experiments)],
        )
        for bad in failures:
            row = [
                bad.experiment_id,
                stage,
                since.get(bad.experiment_id, naive_utc(now)),
                *bad[2:],
                bad.sentence,
            ]
            connection.execute(
                "INSERT INTO failures (experiment_id, stage, since, error, traceback, sentence) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
    return True


def sentences(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every present failure, in one sentence each."""
    rows = connection.execute("SELECT sentence FROM failures ORDER BY experiment_id, stage").fetchall()
    return [sentence for (sentence,) in rows]


def _failure(stage: Stage, experiment_id: str, error: Exception) -> Failure:
    message = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Failure(experiment_id, stage, message, "".join(traceback.format_exception(error)))
