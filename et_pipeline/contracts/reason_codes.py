"""The five reason codes, word for word as the specification has them. A code is never reworded."""

from __future__ import annotations

from typing import Literal, NamedTuple


class ReasonCode(NamedTuple):
    """One reason code.

    Attributes:
        code: Stable name.
        severity: `INFO` or `WARN`.
        meaning: What it says, in the specification's words.
        action: What follows from it, in the specification's words.
    """

    code: str
    severity: Literal["INFO", "WARN"]
    meaning: str
    action: str


STARTED = ReasonCode(
    "EXPERIMENT_STARTED", "INFO", "A new experiment was registered.", "Log and emit OperationsReport."
)
RESULT = ReasonCode(
    "EXPERIMENT_RESULT",
    "INFO",
    "Experiment concluded with a statistical verdict.",
    "Emit OperationsReport; optionally trigger promotion flow.",
)
INSUFFICIENT_SAMPLES = ReasonCode(
    "EXPERIMENT_INSUFFICIENT_SAMPLES",
    "WARN",
    "Insufficient samples to declare a winner.",
    "Continue sampling.",
)
LARGE_SPLIT_WARN = ReasonCode(
    "EXPERIMENT_LARGE_SPLIT_WARN",
    "WARN",
    "traffic_split_pct > 50%; high exposure to variant.",
    "Emit WARN; require human sign-off.",
)
STALLED = ReasonCode(
    "EXPERIMENT_STALLED",
    "WARN",
    "Report bus unavailable; sampling paused.",
    "Pause experiment; emit alert.",
)

REASON_CODES: tuple[ReasonCode, ...] = (STARTED, RESULT, INSUFFICIENT_SAMPLES, LARGE_SPLIT_WARN, STALLED)
