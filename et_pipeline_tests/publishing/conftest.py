"""Events in a warehouse of their own, as the governance stage writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from et_pipeline.contracts.messages import (
    DriftSignal,
    Event,
    event_id,
    promotion_review_event,
    reason_code_event,
)
from et_pipeline.contracts.reason_codes import RESULT, STARTED
from et_pipeline.resources.settings import Settings
from et_pipeline.resources.warehouse import open_warehouse, transaction

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
PLAN_HASH = "c0ffee" * 8


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", lock_timeout_s=20)


@pytest.fixture
def put_events() -> Callable[[Settings, Sequence[Event]], list[str]]:
    def put(settings: Settings, events: Sequence[Event]) -> list[str]:
        with open_warehouse(settings) as connection, transaction(connection):
            start = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
            for seq, event in enumerate(events, start + 1):
                connection.execute(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [*event[:6], event.emitted_at.replace(tzinfo=None), json.dumps(event.payload), seq],
                )
        return [event.event_id for event in events]

    return put


@pytest.fixture
def reports() -> Callable[[int], list[Event]]:
    """So many EXPERIMENT_STARTED, each of its own experiment."""

    def make(count: int) -> list[Event]:
        return [
            reason_code_event(
                STARTED,
                experiment_id=f"exp-{number}",
                strategy_id="strat.a",
                plan_hash=PLAN_HASH,
                period="",
                message=f"Experiment exp-{number} was registered: “quotes”, ½ tick wider.",
                emitted_at=NOW + timedelta(seconds=number),
                payload={"number": number},
            )
            for number in range(count)
        ]

    return make


@pytest.fixture
def signals() -> Callable[[int], list[Event]]:
    """So many drift signals, each of its own experiment."""

    def make(count: int) -> list[Event]:
        return [
            DriftSignal(
                event_id(f"exp-{number}", "drift_signal", PLAN_HASH, "edge_bps"),
                f"exp-{number}",
                "strat.a",
                "strat.b",
                "edge_bps",
                "interval",
                -2.5,
                -4.0,
                -1.0,
                500,
                40.0,
                80.0,
                None,
                PLAN_HASH,
                "beef" * 16,
                NOW,
            ).event(f"Variant of exp-{number} underperforms.")
            for number in range(count)
        ]

    return make


@pytest.fixture
def result_and_review() -> list[Event]:
    """A concluded experiment: its result and the request for a review."""
    return [
        reason_code_event(
            RESULT,
            experiment_id="exp-0",
            strategy_id="strat.a",
            plan_hash=PLAN_HASH,
            period="verdict",
            message="The variant is better.",
            emitted_at=NOW,
            payload={"verdict": "variant_better"},
        ),
        promotion_review_event(
            experiment_id="exp-0",
            plan_hash=PLAN_HASH,
            evidence_hash="beef" * 16,
            approvers=1,
            message="Please review exp-0.",
            emitted_at=NOW,
        ),
    ]
