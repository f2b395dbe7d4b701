"""Broken lines with one defect each, by the name of the defect; a strict reader has to put them into quarantine."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the module imports pandera, which takes a second
    from et_pipeline.contracts.report import Reason

Report = dict[str, Any]

MARK = "?here?"
FAR_FUTURE = "2999-01-01T00:00:00.000Z"


def _dump(report: object) -> str:
    return json.dumps(report, separators=(",", ":"))


def _with(**fields: object) -> Callable[[Report], Report]:
    return lambda report: {**report, **fields}


def _metric(value: object) -> Callable[[Report], Report]:
    return lambda report: {**report, "metrics": {**report["metrics"], "edge_bps": value}}


def _without(field: str) -> Callable[[Report], Report]:
    return lambda report: {name: value for name, value in report.items() if name != field}


def _conflict(report: Report) -> Report:
    """A report with the same id and another content."""
    changed = copy.deepcopy(report)
    name = next(iter(changed["metrics"]))
    changed["metrics"][name] += 0.25 if changed["metrics"][name] < 0.5 else -0.25
    return changed


def _literal(text: str) -> Callable[[Report], str]:
    """A metric whose JSON text is `text`."""
    return lambda report: _dump(_metric(MARK)(report)).replace(f'"{MARK}"', text)


IN_CONTENT: dict[str, Callable[[Report], Report]] = {
    "conflict": _conflict,
    "missing_field": _without("correlation_id"),
    "missing_metrics": _without("metrics"),
    "empty_metrics": _with(metrics={}),
    "unknown_mode": _with(mode="paper"),
    "unknown_side": _with(side="HOLD"),
    "out_of_bounds": _metric(10_000.5),
    "future": _with(emitted_at=FAR_FUTURE),
    "major_version": _with(schema_version="2.0"),
    "naive_timestamp": lambda report: {**report, "emitted_at": report["emitted_at"].rstrip("Z")},
    "impossible_timestamp": _with(emitted_at="2025-02-30T00:00:00.000Z"),
    "wrong_type": _metric("12.5"),
    "wrong_type_envelope": _with(strategy_id=17),
    "null_field": _with(market_id=None),
    "bad_identifier": _with(market_id=""),
    "bad_kind": _with(kind=7),
    "replay_not_from_backtester": _with(mode="replay", bot_id="strat.impostor"),
    "unknown_decision": _with(decision="declined"),
    "pass_with_metrics": _with(decision="passed"),
    "bad_labels": _with(labels={"desk": ""}),
}
"""Well-formed JSON that breaks a rule of the contract."""

IN_TEXT: dict[str, Callable[[Report], str | bytes]] = {
    "truncated": lambda report: _dump(report)[:-17],
    "truncated_last": lambda report: _dump(report)[:-23],
    "trailing_comma": lambda report: _dump(report)[:-2] + ",}}",
    "nan": _literal("NaN"),
    "infinity": _literal("-Infinity"),
    "overflow": _literal("1e999"),
    "lone_surrogate": lambda report: _dump({**report, "outcome_id": MARK}).replace(MARK, "\\ud800"),
    "two_documents": lambda report: _dump(report) + " " + _dump(report),
    "nul": lambda report: _dump({**report, "outcome_id": MARK}).replace(MARK, "YES\0"),
    "nul_escape": lambda report: _dump({**report, "outcome_id": "YES\0"}),
    "repeated_key": lambda report: _dump(report)[:-1] + f',"side":"{report["side"]}"}}',
    "not_utf8": lambda report: (
        _dump({**report, "outcome_id": MARK}).encode().replace(MARK.encode(), b"\xff\xfe")
    ),
    "not_an_object": lambda report: _dump(list(report.values())),
    "blank_line": lambda report: "",
    "not_json": lambda report: "2025-01-06 12:00:00 INFO exporter restarted",
}
"""Text that is not one JSON object."""

BROKEN_KINDS: tuple[str, ...] = (*IN_CONTENT, *IN_TEXT)
"""All kinds of broken lines in NDJSON snapshots."""

_SHARED = (
    "conflict",
    "unknown_mode",
    "unknown_side",
    "out_of_bounds",
    "major_version",
    "null_field",
    "empty_metrics",
    "bad_identifier",
    "replay_not_from_backtester",
)
PARQUET_BROKEN: dict[str, Callable[[Report], Report]] = {
    **{kind: IN_CONTENT[kind] for kind in _SHARED},
    "missing_field": _with(correlation_id=None),
    "future": _with(emitted_at=datetime(2999, 1, 1, tzinfo=UTC)),
    "nan": _metric(float("nan")),
    "infinity": _metric(float("-inf")),
}
PARQUET_BROKEN_KINDS: tuple[str, ...] = tuple(PARQUET_BROKEN)
"""The kinds that are possible in a Parquet row, whose columns have types."""

EXPECTED_REASON: dict[str, Reason] = {
    **dict.fromkeys(IN_TEXT, "malformed_json"),
    "repeated_key": "repeated_key",
    "not_utf8": "not_utf8",
    "not_an_object": "not_an_object",
    "blank_line": "blank_line",
    "conflict": "conflict",
    "missing_field": "missing_field",
    "missing_metrics": "missing_field",
    "empty_metrics": "no_metrics",
    "unknown_mode": "unknown_mode",
    "unknown_side": "unknown_side",
    "out_of_bounds": "metric_out_of_bounds",
    "future": "in_the_future",
    "major_version": "unsupported_version",
    "naive_timestamp": "bad_time",
    "impossible_timestamp": "bad_time",
    "wrong_type": "wrong_type",
    "wrong_type_envelope": "wrong_type",
    "null_field": "missing_field",
    "bad_identifier": "bad_identifier",
    "bad_kind": "bad_kind",
    "replay_not_from_backtester": "replay_not_from_backtester",
    "unknown_decision": "unknown_decision",
    "pass_with_metrics": "pass_with_metrics",
    "bad_labels": "bad_labels",
}
"""The quarantine reason that a reader has to give for each kind in NDJSON."""
PARQUET_EXPECTED_REASON: dict[str, Reason] = {
    **{kind: EXPECTED_REASON[kind] for kind in PARQUET_BROKEN},
    "nan": "metric_out_of_bounds",
    "infinity": "metric_out_of_bounds",
}
"""The expected reasons for Parquet rows, in which NaN and infinity are valid numbers."""


def break_report(kind: str, report: Report, report_id: str) -> bytes:
    """A broken NDJSON line (without its line end), made from a valid report.

    Args:
        kind: One of `BROKEN_KINDS`.
        report: The valid report.
        report_id: Id of the broken one; a conflict keeps the valid report's id.
    """
    renamed = report if kind == "conflict" else {**report, "report_id": report_id}
    if kind in IN_CONTENT:
        return _dump(IN_CONTENT[kind](renamed)).encode()
    line = IN_TEXT[kind](renamed)
    return line if isinstance(line, bytes) else line.encode()


def break_row(kind: str, report: Report, report_id: str) -> Report:
    """A broken Parquet row, made from a valid one; see `break_report`."""
    renamed = report if kind == "conflict" else {**report, "report_id": report_id}
    return PARQUET_BROKEN[kind](renamed)
