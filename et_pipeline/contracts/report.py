"""The OperationsReport as it comes in: its fields, and the rules that a report has to follow.

The rules are defined here once, as a pandera schema on polars; its part for metrics is built from the metric
catalogue. Every failure case of the schema becomes a quarantine reason and a sentence. The JSON Schema for
the teams that emit reports is derived from the same constants (`python -m et_pipeline.contracts.report`
prints it). Tests check that `operations_report.schema.json` is equal to it, and that both schemas agree.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any, Literal, NamedTuple

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from et_pipeline.common.untrusted import CONTROL_CHARACTERS
from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS, Metric

KIND = "OperationsReport"
OWN_BOT_ID = "gov.experimenttracker"
BACKTESTER_BOT_ID = "gov.backtester"
MODES = ("live", "replay")
SIDES = ("BUY", "SELL")
TRADED, PASSED = DECISIONS = ("traded", "passed")
"""What a strategy did with an opportunity. A report without `decision` means that it traded."""
MAX_IDENTIFIER = 200
"""Longest identifier, in characters."""
LABELS = "labels"
"""The optional field with short texts by name, for breakdowns. Its texts are stored in the column `extra`."""
MAX_LABELS, MAX_LABEL = 16, 100
"""Largest number of labels of a report, and largest length of one, in characters."""
LABEL_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,39}$"

IDENTIFIERS = (
    "report_id",
    "bot_id",
    "strategy_id",
    "config_version",
    "correlation_id",
    "market_id",
    "outcome_id",
)
STRINGS = ("schema_version", *IDENTIFIERS, "mode", "side")
"""The text fields of a report besides `kind` and `emitted_at`."""
FIELDS = (*STRINGS[:2], "kind", *STRINGS[2:], "emitted_at", "metrics")
"""Every field that schema version 1.0 knows; all of them are required, `metrics` unless the strategy passed."""
OPTIONAL = ("decision",)
"""Further fields that a 1.x report may have."""

VERSION_PATTERN = r"^1\.(0|[1-9][0-9]{0,5})$"
_YEAR, _MONTH, _DAY = "(19[7-9][0-9]|2[0-9]{3})", "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])"
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_FRACTION = "([.,][0-9]{1,12})?"
TIME_PATTERN = (
    f"^({_YEAR}-{_MONTH}-{_DAY}[Tt ]{_HOUR}:{_SIXTY}(:{_SIXTY}{_FRACTION})?"
    f"|{_YEAR}{_MONTH}{_DAY}[Tt ]{_HOUR}{_SIXTY}({_SIXTY}{_FRACTION})?)"
    f"([Zz]|[+-]{_HOUR}(:?{_SIXTY})?)$"
)
"""RFC 3339 and the common forms of ISO-8601: with or without seconds, extended or basic, a comma or a point before
the fraction, an offset as `Z`, `+00:00`, `+0000` or `+00`; years 1970 to 2999. Times are stored in microseconds; finer
digits are used only to order reports, see `BELOW`."""

BELOW = "emitted_below_us"
"""The column with the part of a report's time below one microsecond, in picoseconds (0 to 999,999). It says which of
two reports within one microsecond is the later one. It does not belong to a report's content: a report that is sent
again with fewer digits is still the same report."""

LATEST = datetime(2200, 12, 31, 23, 59, 59, 999_999)
"""The latest moment (UTC) that a report may have: no plan's window reaches further.

A report that is only ahead of the clock is valid; it waits until its moment has come.
"""

Reason = Literal[
    "line_too_long",
    "blank_line",
    "not_utf8",
    "malformed_json",
    "repeated_key",
    "not_an_object",
    "bad_kind",
    "wrong_type",
    "missing_field",
    "unsupported_version",
    "bad_identifier",
    "unknown_mode",
    "unknown_side",
    "bad_time",
    "in_the_future",
    "metric_out_of_bounds",
    "unknown_decision",
    "bad_labels",
    "no_metrics",
    "pass_with_metrics",
    "replay_not_from_backtester",
    "conflict",
]
"""Why a line is in quarantine. A reason is never renamed."""

ALLOWED: dict[str, str] = {
    "unsupported_version": "1.0, 1.1 and every other 1.x",
    "bad_identifier": f"1 to {MAX_IDENTIFIER} characters, none of them a control character",
    "unknown_mode": " or ".join(MODES),
    "unknown_side": " or ".join(SIDES),
    "unknown_decision": " or ".join(DECISIONS),
    "bad_labels": f"up to {MAX_LABELS} texts of 1 to {MAX_LABEL} characters without control characters, by names of "
    "1 to 40 letters, digits and _ that do not begin with a digit",
    "bad_time": "RFC 3339 or ISO-8601, years 1970 to 2999, with an offset, for example 2026-11-01T12:00:00.250Z",
    "in_the_future": "a time before the year 2201, because no experiment ends later",
    "no_metrics": f"at least one of {', '.join(REPORT_METRICS)}",
    "pass_with_metrics": f"a report with decision {PASSED} must have none of {', '.join(REPORT_METRICS)}",
    "replay_not_from_backtester": f"mode replay only from bot_id {BACKTESTER_BOT_ID}",
    **{f"metric_out_of_bounds:{name}": CATALOGUE[name].allowed for name in REPORT_METRICS},
}


def _check(reason: str, rule: pl.Expr) -> pa.Check:
    return pa.Check(lambda data: data.lazyframe.select(rule), error=reason, statistics={"rule": rule})


def _column(name: str) -> pa.Column:
    """The type and the rules of a column of reports."""
    column = pl.col(name)
    if name in CATALOGUE:
        bounds = CATALOGUE[name]
        rule = column.is_between(bounds.lower, bounds.upper, closed="right" if bounds.lower_open else "both")
        return pa.Column(pl.Float64, _check("metric_out_of_bounds", rule), nullable=True)
    if name == "emitted_at":
        return pa.Column(pl.Datetime("us"), _check("in_the_future", column <= LATEST))
    sound = column.str.len_chars().is_between(1, MAX_IDENTIFIER) & ~column.str.contains(CONTROL_CHARACTERS)
    rules = {
        "schema_version": ("unsupported_version", column.str.contains(VERSION_PATTERN)),
        "mode": ("unknown_mode", column.is_in(MODES)),
        "side": ("unknown_side", column.is_in(SIDES)),
        "decision": ("unknown_decision", column.is_in(DECISIONS)),
    }
    return pa.Column(pl.String, _check(*rules.get(name, ("bad_identifier", sound))))


def report_schema() -> pa.DataFrameSchema:
    """The rules of a report, on columns. They do not depend on the present time, so a valid report stays valid.

    Returns:
        Schema of a frame with the columns `STRINGS`, `emitted_at` (naive UTC microseconds, null where the
        text is not a valid time), `decision` and one nullable column per metric. The order of the columns is the
        order of precedence of the reasons; a check's `error` is its reason.
    """
    measured = pl.any_horizontal(pl.col(*REPORT_METRICS).is_not_null())
    own = (pl.col("mode") != "replay") | (pl.col("bot_id") == BACKTESTER_BOT_ID)
    return pa.DataFrameSchema(
        {name: _column(name) for name in (*STRINGS, "emitted_at", *OPTIONAL, *REPORT_METRICS)},
        checks=[
            _check("no_metrics", measured | (pl.col("decision") != TRADED)),
            _check("pass_with_metrics", ~measured | (pl.col("decision") != PASSED)),
            # A missing mode or bot_id is reported by the check of that column, not here.
            _check("replay_not_from_backtester", own.fill_null(True)),
        ],
    )


class Fault(NamedTuple):
    """Why one row of a frame is not a valid report.

    Attributes:
        reason: Machine-readable reason.
        sentence: The reason for people: field, value, what is allowed.
    """

    reason: str
    sentence: str


def faults(
    frame: pl.DataFrame, schema: pa.DataFrameSchema, times: pl.Series | None = None
) -> dict[int, Fault]:
    """The first rule that each bad row breaks, in the schema's order of precedence.

    Args:
        frame: Rows as `report_schema` describes them.
        schema: The rules.
        times: The text of `emitted_at` in the reports, which is shown where it is not a valid time.

    Returns:
        Fault by row number, only for rows that break a rule.

    Raises:
        SchemaErrors: The frame itself is not of the schema's shape (a programming error).
    """
    rows = _broken(frame, schema)
    if not len(rows):
        return {}
    frame = frame[rows]
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        if cases["index"].null_count():
            raise
    else:
        return {}
    order = {name: position for position, name in enumerate(schema.columns)}
    found: dict[int, tuple[int, Fault]] = {}
    for column, check, index in cases.select("column", "check", "index").iter_rows():
        position, row = order.get(column, len(order)), rows[index]
        if row not in found or position < found[row][0]:
            value = None if column is None else frame.item(index, column)
            if column == "emitted_at" and value is None and times is not None:
                value = times[row]
            found[row] = position, _fault(column, check, value)
    return {row: fault for row, (_, fault) in found.items()}


def _broken(frame: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.Series:
    """The numbers of the rows that break a rule, by one query; all rows if a column has the wrong type.

    pandera, which says what is wrong, makes more than a hundred queries; so it sees only these rows.
    """
    columns = schema.columns
    if any(frame.schema.get(name) != column.dtype.type for name, column in columns.items()):
        return pl.int_range(len(frame), eager=True)
    checks = [*schema.checks, *(check for column in columns.values() for check in column.checks)]
    rules = [check.statistics["rule"].fill_null(True) for check in checks]
    rules += [pl.col(name).is_not_null() for name, column in columns.items() if not column.nullable]
    return frame.select(pl.all_horizontal(rules).not_()).to_series().arg_true()


def _fault(column: str | None, check: str, value: object) -> Fault:
    if check == "not_nullable" and column != "emitted_at":
        return Fault("missing_field", f"{column} is missing or null; every report must have it")
    if check == "not_nullable":
        return Fault("bad_time", f"{_no_moment(value)}; allowed: {ALLOWED['bad_time']}")
    if column is None:
        return Fault(check, f"the report breaks a rule between its fields; allowed: {ALLOWED[check]}")
    allowed = ALLOWED.get(f"{check}:{column}") or ALLOWED[check]
    return Fault(check, f"{column} is {shortened(value)}; allowed: {allowed}")


def _no_moment(text: object) -> str:
    if not isinstance(text, str):
        return "emitted_at is missing or null"
    why = "it has no offset from UTC" if re.fullmatch(TIME_PATTERN, f"{text}Z") else "this is not a time"
    return f"emitted_at is {shortened(text)}: {why}"


def shortened(value: object, limit: int = 80) -> str:
    """A value in the form for messages, with at most `limit` characters."""
    text = f"{value.isoformat()}Z" if isinstance(value, datetime) else repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def json_schema() -> dict[str, Any]:
    """The rules of a report as a JSON Schema (draft 2020-12), for the teams that emit reports.

    A JSON Schema cannot express some of the rules: impossible days of the calendar, years after 2200, repeated keys,
    and that a report id is used once. A metric or a decision that is null counts as not reported.
    """
    identifier = {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_IDENTIFIER,
        "not": {"pattern": r"[\u0000-\u001f\u007f-\u009f]"},
    }
    metrics = {name: _metric_schema(CATALOGUE[name]) for name in REPORT_METRICS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": KIND,
        "description": "One report of a strategy's trade, or of an opportunity on which it passed. Each line is one "
        "JSON "
        "object. Unknown fields are kept.",
        "type": "object",
        "required": [name for name in FIELDS if name != "metrics"],
        "properties": {
            "schema_version": {**identifier, "pattern": VERSION_PATTERN},
            **dict.fromkeys(IDENTIFIERS, identifier),
            "kind": {"const": KIND},
            "mode": {"enum": list(MODES)},
            "side": {"enum": list(SIDES)},
            "emitted_at": {**identifier, "format": "date-time", "pattern": TIME_PATTERN},
            "decision": {
                "description": "What the strategy did with the opportunity. If it is left out, the strategy traded.",
                "enum": [*DECISIONS, None],
            },
            LABELS: {
                "description": "Short texts by name, for breakdowns of an experiment. null means no label.",
                "type": ["object", "null"],
                "maxProperties": MAX_LABELS,
                "propertyNames": {"pattern": LABEL_NAME, "not": identifier["not"]},
                "additionalProperties": {**identifier, "type": ["string", "null"], "maxLength": MAX_LABEL},
            },
            "metrics": {"type": ["object", "null"], "properties": metrics},
        },
        "allOf": [
            {
                "if": {"required": ["decision"], "properties": {"decision": {"const": PASSED}}},
                "then": {
                    "properties": {
                        "metrics": {"properties": {name: {"type": "null"} for name in REPORT_METRICS}}
                    }
                },
                "else": {
                    "required": ["metrics"],
                    "properties": {
                        "metrics": {
                            "type": "object",
                            "anyOf": [
                                {"required": [name], "properties": {name: {"type": "number"}}}
                                for name in REPORT_METRICS
                            ],
                        }
                    },
                },
            }
        ],
        "if": {"properties": {"mode": {"const": "replay"}}},
        "then": {"properties": {"bot_id": {"const": BACKTESTER_BOT_ID}}},
    }


def _metric_schema(metric: Metric) -> dict[str, Any]:
    lower = "exclusiveMinimum" if metric.lower_open else "minimum"
    return {
        "description": f"{metric.meaning} Unit: {metric.unit}.",
        "type": ["number", "null"],
        lower: metric.lower,
        "maximum": metric.upper,
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
