"""The messages that the pipeline sends, and the reason codes, whose words never change."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from et_pipeline.contracts.messages import (
    DriftSignal,
    event_id,
    isoformat,
    promotion_review_event,
    reason_code_event,
)
from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.contracts.reason_codes import REASON_CODES, STARTED

MOMENT = datetime(2026, 11, 1, 12, tzinfo=UTC)


SPECIFIED = [
    ("EXPERIMENT_STARTED", "INFO", "A new experiment was registered.", "Log and emit OperationsReport."),
    (
        "EXPERIMENT_RESULT",
        "INFO",
        "Experiment concluded with a statistical verdict.",
        "Emit OperationsReport; optionally trigger promotion flow.",
    ),
    (
        "EXPERIMENT_INSUFFICIENT_SAMPLES",
        "WARN",
        "Insufficient samples to declare a winner.",
        "Continue sampling.",
    ),
    (
        "EXPERIMENT_LARGE_SPLIT_WARN",
        "WARN",
        "traffic_split_pct > 50%; high exposure to variant.",
        "Emit WARN; require human sign-off.",
    ),
    (
        "EXPERIMENT_STALLED",
        "WARN",
        "Report bus unavailable; sampling paused.",
        "Pause experiment; emit alert.",
    ),
]
"""The specification's table, word for word. A code is never reworded."""


def test_reason_codes_are_the_specification_word_for_word() -> None:
    assert [tuple(code) for code in REASON_CODES] == SPECIFIED


def test_the_catalogue_orients_every_metric() -> None:
    better_when_lower = {name for name, metric in CATALOGUE.items() if metric.direction == -1}
    assert better_when_lower == {"slippage_bps", "latency_ms", "toxicity_bps"}
    assert set(REPORT_METRICS) == set(CATALOGUE) - {"size_fill_ratio"}
    assert CATALOGUE["latency_ms"].allowed == "0 < latency_ms <= 86400000"


def test_event_ids_are_derived_from_what_is_told() -> None:
    one = event_id("a", "EXPERIMENT_STARTED", "h", "")
    assert one == event_id("a", "EXPERIMENT_STARTED", "h", "")
    others = {
        event_id(*parts)
        for parts in (
            ("b", "EXPERIMENT_STARTED", "h", ""),
            ("a", "X", "h", ""),
            ("a", "EXPERIMENT_STARTED", "i", ""),
            ("a", "EXPERIMENT_STARTED", "h", "d"),
        )
    }
    assert one not in others
    assert len(others) == 4
    assert re.fullmatch("[0-9a-f]{32}", one)


def test_the_emitted_envelope_has_the_fields_of_the_contract() -> None:
    event = reason_code_event(
        STARTED,
        experiment_id="a",
        strategy_id="s",
        plan_hash="h" * 64,
        period="",
        message="It began.",
        emitted_at=MOMENT,
        payload={"plan": {}},
    )
    assert event.payload["report_id"] == event.event_id
    assert event.payload["bot_id"] == "gov.experimenttracker"
    assert event.payload["kind"] == "OperationsReport"
    assert {"reason_code", "severity", "message", "experiment_id", "plan_hash", "payload"} < set(
        event.payload
    )
    assert event.payload["emitted_at"] == "2026-11-01T12:00:00.000000Z"


def test_drift_signal_and_review_request_carry_plain_json() -> None:
    signal = DriftSignal(
        "i",
        "a",
        "c",
        "v",
        "edge_bps",
        "interval",
        -1.0,
        -2.0,
        -0.1,
        100,
        20.0,
        30.0,
        MOMENT,
        "h",
        "e",
        MOMENT,
    )
    payload = signal.event("It is worse.").payload
    assert payload["since"] == payload["emitted_at"] == isoformat(MOMENT)
    assert payload["trigger"] == "interval"
    review = promotion_review_event(
        experiment_id="a",
        plan_hash="h",
        evidence_hash="e",
        approvers=2,
        message="Please look.",
        emitted_at=MOMENT,
    )
    assert review.payload["addressed_to"] == "human reviewers"


def test_the_specification_page_still_says_the_same() -> None:
    specification = Path(__file__).parents[3] / "shared" / "spec.md"
    if not specification.exists():
        pytest.skip("the users' specification is not beside this checkout")
    text = specification.read_text()
    for code in REASON_CODES:
        assert f"| {code.code} | {code.severity} | {code.meaning} | {code.action} |" in text
