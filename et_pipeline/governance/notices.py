"""Notices for people about events that are not in any message to other systems: contradicted verdicts, failed checks,
runs.

A notice is written in the transaction that discovers the event. To whom it is sent is decided later, see
`publishing.people`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from et_pipeline.common.sql import insert_row, load
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.messages import event_id, isoformat

if TYPE_CHECKING:
    import duckdb

NoticeTopic = Literal[
    "verdict_contradicted", "verdict_weakened", "check_failed", "check_warning", "run_failed"
]


class Notice(NamedTuple):
    """One notice.

    Attributes:
        topic: What kind of event it is about.
        experiment_id: The experiment; None if it is about no single experiment.
        severity: `WARN` or `ERROR`.
        message: One plain sentence.
        period: What distinguishes it from earlier notices of this topic and experiment, for example a time.
    """

    topic: NoticeTopic
    experiment_id: str | None
    severity: Literal["WARN", "ERROR"]
    message: str
    period: str


class FailedCheck(NamedTuple):
    """One check that did not pass.

    Attributes:
        name: The asset and its check.
        warning: Whether it only warns.
        problems: A sentence for each problem; a problem of one experiment begins with its id.
    """

    name: str
    warning: bool
    problems: tuple[str, ...]


def write(connection: duckdb.DuckDBPyConnection, notice: Notice, now: datetime) -> bool:
    """Writes a notice in the caller's transaction, unless it was written before; returns whether it is new."""
    identifier = event_id(notice.experiment_id or "", notice.topic, "", notice.period)
    known = connection.execute("SELECT 1 FROM notices WHERE notice_id = ?", [identifier]).fetchone()
    if known is not None:
        return False
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM notices").fetchone() or (0,)
    row = notice._asdict() | {"notice_id": identifier, "noticed_at": naive_utc(now), "seq": last + 1}
    del row["period"]
    insert_row(connection, "notices", row)
    return True


def note_checks(connection: duckdb.DuckDBPyConnection, failed: Collection[FailedCheck], now: datetime) -> int:
    """Updates `failing_checks` in the caller's transaction, and writes a notice for each check that is new there.

    There is one notice as long as a check fails for the same experiment, or, if it is about no experiment, as long as
    it fails.

    Returns:
        How many rows were added to or removed from `failing_checks`.
    """
    registered = {row[0] for row in connection.execute("SELECT experiment_id FROM experiments").fetchall()}
    failing: dict[tuple[str, str], tuple[bool, list[str]]] = {}
    for check in failed:
        for problem in check.problems:
            about = problem.split(maxsplit=1)[0].rstrip(":") if problem.split() else ""
            key = (check.name, about if about in registered else "")
            failing.setdefault(key, (check.warning, []))[1].append(problem)
    rows = connection.execute(load(__package__, "failing_checks")).fetchall()
    before = {(name, about): since for name, about, since in rows}
    ended = before.keys() - failing.keys()
    for name, about in ended:
        connection.execute(
            "DELETE FROM failing_checks WHERE check_name = ? AND experiment_id = ?", [name, about]
        )
    new = sorted(failing.keys() - before.keys())
    for name, about in new:
        warning, problems = failing[name, about]
        sentence = f"The check {name} {'warns' if warning else 'fails'}: {'; '.join(problems)}"
        row = {"check_name": name, "experiment_id": about, "since": naive_utc(now), "sentence": sentence}
        insert_row(connection, "failing_checks", row)
        topic: NoticeTopic = "check_warning" if warning else "check_failed"
        period = f"{name}@{isoformat(now)}"
        write(connection, Notice(topic, about or None, "WARN" if warning else "ERROR", sentence, period), now)
    return len(new) + len(ended)


def run_failed(connection: duckdb.DuckDBPyConnection, job: str, step: str, error: str, now: datetime) -> bool:
    """Writes the notice of a failed run in the caller's transaction; one per job, step and UTC day.

    Otherwise a delivery that fails all night would write a notice every half minute.

    Returns:
        Whether it is new.
    """
    sentence = f"A run of the job {job} failed in {step or 'no step'}: {error}"
    period = f"{job}/{step}@{naive_utc(now):%Y-%m-%d}"
    return write(connection, Notice("run_failed", None, "ERROR", sentence, period), now)
