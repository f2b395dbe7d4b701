"""One evaluation of experiments: the facts at its beginning, and methods that write its results."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from et_pipeline.common.sql import insert_row
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.messages import DriftSignal, Event
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.governance import announce, lifecycle, records, stall
from et_pipeline.governance.records import Announced
from et_pipeline.governance.sign_off_records import SignOffJudge
from et_pipeline.governance.sign_offs import SignOff
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb


@dataclass
class UnitOfWork:
    """The facts and the changes of one evaluation; its methods write in the caller's transaction.

    Attributes:
        connection: The warehouse.
        now: The moment of the evaluation.
        states: State of every experiment.
        emitted: Ids of the events that were emitted before.
        sign_offs: Judges the sign-off files.
        outages: The outages because of which reports cannot be read now.
        closed_until: End of each experiment's newest closed block.
        announced: The announced verdicts, by experiment.
        verdicts: The rows of `verdicts`, by experiment.
        transitions: Changes of state in this evaluation.
        events: Number of events written in this evaluation.
        signals: Number of drift signals among them.
        reviews: Reviews that are requested after all verdicts of this evaluation are known, by experiment. Each makes
            its message from the sentence that says whether the discovery stands when all experiments are counted.
    """

    connection: duckdb.DuckDBPyConnection
    now: datetime
    states: dict[str, str]
    emitted: set[str]
    sign_offs: SignOffJudge
    outages: list[stall.Outage]
    closed_until: dict[str, datetime]
    announced: dict[str, Announced]
    verdicts: dict[str, dict[str, Any]]
    transitions: list[tuple[str, str | None, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    signals: list[DriftSignal] = field(default_factory=list)
    reviews: dict[str, Callable[[str], Event]] = field(default_factory=dict)

    def advance(self, experiment: RegisteredExperiment, trigger: str, **detail: Any) -> None:
        """Changes an experiment's state; see `lifecycle.advance`."""
        before = self.states.get(experiment.experiment_id)
        after = lifecycle.advance(self.connection, self.now, experiment.experiment_id, trigger, detail)
        self.states[experiment.experiment_id] = after
        self.transitions.append((experiment.experiment_id, before, after))

    def emit(self, event: Event) -> bool:
        """Writes an event into the outbox, unless it was emitted before; returns whether it is new."""
        if event.event_id in self.emitted:
            return False
        self.emitted.add(event.event_id)
        payload = event.payload
        if event.kind == "reason_code":
            head = audit.head(self.connection)
            payload["payload"] = {**payload["payload"], "audit": {"seq": head.seq, "hash": head.hash}}
        self.connection.execute(
            "INSERT INTO events (event_id, kind, experiment_id, reason_code, severity, message, emitted_at, "
            "payload, seq) SELECT ?, ?, ?, ?, ?, ?, ?, ?, coalesce(max(seq), 0) + 1 FROM events",
            [
                event.event_id,
                event.kind,
                event.experiment_id,
                event.reason_code,
                event.severity,
                event.message,
                naive_utc(event.emitted_at),
                json.dumps(payload, ensure_ascii=False, allow_nan=False),
            ],
        )
        self.events.append(event)
        return True

    def signal(self, signal: DriftSignal) -> None:
        """Writes a drift signal and its event unless it was emitted before."""
        if self.emit(signal.event(announce.signal_sentence(signal))):
            row = signal._asdict() | {
                "emitted_at": naive_utc(signal.emitted_at),
                "since": signal.since and naive_utc(signal.since),
            }
            insert_row(self.connection, "drift_signals", row)
            self.signals.append(signal)

    def ended(self, experiment: RegisteredExperiment) -> bool:
        """Whether an experiment is over: its arms have reported later opportunities, or a block has passed since its
        end.

        It is never over before `ends_at`, even if reports with later times have come.
        """
        since = naive_utc(self.now) - experiment.ends_at
        moved_on = self.closed_until.get(experiment.experiment_id, datetime.min) >= experiment.ends_at
        grace = timedelta(microseconds=experiment.time_block_us)
        return since >= grace or (moved_on and since >= timedelta(0))


def begin_work(
    connection: duckdb.DuckDBPyConnection,
    now: datetime,
    checked: list[SignOff],
    outages: list[stall.Outage],
) -> UnitOfWork:
    """Reads the facts at the beginning of an evaluation.

    Args:
        connection: The warehouse.
        now: The moment of the evaluation.
        checked: The sign-offs that do not count yet.
        outages: The outages because of which reports cannot be read now.
    """
    emitted = connection.execute("SELECT event_id FROM events").fetchall()
    return UnitOfWork(
        connection,
        now,
        dict(lifecycle.states(connection)),
        {row[0] for row in emitted},
        SignOffJudge(connection, now, checked),
        outages,
        records.closed_until(connection),
        records.announced(connection),
        records.verdicts(connection),
    )
