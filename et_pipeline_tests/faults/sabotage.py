"""Deliberate mistakes of the kinds that the tests of crashes exist to find; they must find every one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from et_pipeline_tests.faults.points import around


def commit(name: str | None) -> None:
    """Makes a mistake in this process; None for none."""
    if name is not None:
        MISTAKES[name]()


def _sent_before_the_commit() -> None:
    """A message leaves where it is decided, not from the outbox: it may say what never came to be."""
    from et_pipeline.governance.unit_of_work import UnitOfWork

    emit = UnitOfWork.emit

    def sent_at_once(self: Any, event: Any) -> bool:
        new = emit(self, event)
        if new:
            folder = Path(os.environ["ET_DATA_DIR"]) / "outbox"
            folder.mkdir(exist_ok=True)
            (folder / f"{event.event_id}.json").write_text("{}\n", encoding="utf-8")
        return new

    UnitOfWork.emit = sent_at_once


def _recorded_before_it_is_sent() -> None:
    """A message counts as delivered before the destination has taken it: a crash in between loses it."""
    from et_pipeline.publishing import delivery
    from et_pipeline.settings import Settings
    from et_pipeline.warehouse.connection import open_warehouse

    send = delivery._Round.send

    def recorded_first(self: Any, batch: Any) -> Any:
        outcomes = [self._outcome(item, "delivered", "surely") for item in batch]
        with open_warehouse(Settings.from_env()) as connection:
            delivery.record(connection, outcomes)
        return [outcome._replace(attempt=outcome.attempt + 1) for outcome in send(self, batch)]

    delivery._Round.send = recorded_first


def _without_transactions() -> None:
    """Each statement commits by itself: a crash leaves half of what belongs together."""
    from et_pipeline.governance import decide
    from et_pipeline.governance.unit_of_work import UnitOfWork

    decide.transaction = nullcontext
    UnitOfWork.emit = around(UnitOfWork.emit, lambda *_: "event: emitted")


def _copied_in_place() -> None:
    """The analyst database is overwritten where readers have it, instead of swapped."""
    from et_pipeline.insight import publish

    swapped = publish.copy_whole

    def in_place(source: Path, target: Path) -> int:
        final = target.with_name("experiments.duckdb")
        if final.exists():
            final.chmod(0o600)
        return swapped(source, final) and swapped(source, target)

    publish.copy_whole = in_place
    publish._usable = lambda *_: False


MISTAKES: dict[str, Callable[[], None]] = {
    "sent before the commit": _sent_before_the_commit,
    "recorded before it is sent": _recorded_before_it_is_sent,
    "without transactions": _without_transactions,
    "copied in place": _copied_in_place,
}
