"""The JSON Schema, the pandera schema and the reader have the same rules for a report: they agree on every document."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jsonschema
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.contracts.report import (
    ALLOWED,
    FIELDS,
    IDENTIFIERS,
    LATEST,
    STRINGS,
    TIME_PATTERN,
    Reason,
    faults,
    json_schema,
    report_schema,
)
from et_pipeline_tests.ingest.lab import ndjson, read, report

PUBLISHED = json.loads(
    files("et_pipeline.contracts").joinpath("operations_report.schema.json").read_text("utf-8")
)

checker = jsonschema.FormatChecker(formats=())


@checker.checks("date-time")
def _is_moment(value: object) -> bool:
    """What a pattern cannot say: that the day exists, and that it is not in the future."""
    if not isinstance(value, str) or not re.fullmatch(TIME_PATTERN, value):
        return not isinstance(value, str)
    try:
        return datetime.fromisoformat(re.sub(r"([.,]\d{6})\d+", r"\1", value).upper()) <= LATEST.replace(
            tzinfo=UTC
        )
    except ValueError:
        return False


VALIDATOR = jsonschema.Draft202012Validator(PUBLISHED, format_checker=checker)


def test_the_published_schema_is_the_derived_one() -> None:
    """Renew it with: python -m et_pipeline.contracts.report > et_pipeline/contracts/operations_report.schema.json"""
    assert json_schema() == PUBLISHED
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)


TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "x",
            "x" * 200,
            "x" * 201,
            "é" * 200,
            "🎲" * 201,
            "\x00",
            "a\n",
            "\x7f",
            "\x85",
            "\ufeff",
            " ",
            "a\\b",
        ]
    ),
    st.text(max_size=5),
    st.integers(),
    st.none(),
    st.booleans(),
)
NUMBERS = st.one_of(
    st.sampled_from(
        [
            -10_000,
            10_000,
            10_000.0001,
            -10_000.0001,
            0,
            1,
            -0.0,
            1e-9,
            1.0000001,
            86_400_000,
            86_400_000.5,
            1e12,
        ]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.sampled_from(["1", True, [], {}]),
)
TIMES = st.sampled_from(
    [None, 5, "", "2026-11-01T00:00:00Z", "2026-11-01T00:00:00.123456789+05:30", "2026-02-29T00:00:00Z"]
    + ["2024-02-29T00:00:00Z", "2026-11-01T00:00:00", "2026-11-01 00:00:00Z", "2026-11-01t00:00:00z"]
    + ["2999-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z"]
    + ["2026-11-01T00:00:00Z\n", "2026-04-31T00:00:00Z", "2026-11-20T12:00:00Z", "2100-02-29T00:00:00Z"]
    + ["2026-11-20T13:00:00.000001+01:00"]
)
VERSIONS = st.sampled_from(
    ["1.0", "1.7", "1.123456", "1.1234567", "1.01", "2.0", "1", "1.", " 1.0", "1.0\n", "１.0", None, 1.0]
)


LABELS = st.one_of(
    st.none(),
    st.just({f"n{number}": "x" for number in range(16)}),
    st.just({f"n{number}": "x" for number in range(17)}),
    st.just([]),
    st.dictionaries(
        st.sampled_from(["desk", "_d1", "", "1st", "a-b", "x" * 40, "x" * 41, "désk", "desk\n"]),
        st.one_of(TEXTS, st.sampled_from(["y" * 100, "y" * 101, "🎲" * 100, "🎲" * 101])),
        max_size=3,
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A sound report with a few fields replaced, removed or added."""
    document: dict[str, Any] = copy.deepcopy(report())
    strategies = {
        **dict.fromkeys(IDENTIFIERS, TEXTS),
        "schema_version": VERSIONS,
        "emitted_at": TIMES,
        "mode": st.sampled_from(["live", "replay", "paper", "", None]),
        "side": st.sampled_from(["BUY", "SELL", "buy", None, 1]),
        "metrics": st.one_of(
            st.dictionaries(st.sampled_from([*REPORT_METRICS, "new_bps"]), NUMBERS), st.none(), st.just([])
        ),
        "bot_id": st.sampled_from(["gov.backtester", "strat.x", ""]),
        "decision": st.sampled_from(["traded", "passed", "PASSED", "", None, 1, []]),
        "labels": LABELS,
        "venue": st.one_of(st.text(max_size=3), st.integers(), st.lists(st.integers(), max_size=2)),
    }
    for name in draw(st.lists(st.sampled_from(sorted(strategies)), max_size=3)):
        document[name] = draw(strategies[name])
    for name in draw(st.lists(st.sampled_from([*FIELDS, "venue"]), max_size=1)):
        if name != "kind":
            document.pop(name, None)
    return document


@pytest.mark.parametrize("examples", [80, pytest.param(1000, marks=pytest.mark.faults)])
def test_the_json_schema_accepts_what_the_reader_accepts(examples: int) -> None:
    settings(max_examples=examples)(given(documents())(assert_agreed))()


def assert_agreed(document: dict[str, Any]) -> None:
    if "\x00" in json.dumps(document, ensure_ascii=False).replace("\\u0000", "\x00"):
        return  # an escaped NUL is malformed text to the reader; a schema sees no text
    try:
        content = ndjson([document])
    except UnicodeEncodeError:
        return
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), content)
    accepted = len(found.reports) == 1
    assert accepted == VALIDATOR.is_valid(document), found.reasons


def frame(**columns: Any) -> pl.DataFrame:
    """One sound row as the schema takes it, with some values replaced."""
    document = report()
    row = {name: document[name] for name in STRINGS} | {"emitted_at": datetime(2026, 11, 1)}
    row |= {"decision": "traded"}
    row |= dict.fromkeys(REPORT_METRICS) | document["metrics"] | columns
    types = (
        dict.fromkeys(STRINGS, pl.String)
        | {"emitted_at": pl.Datetime("us"), "decision": pl.String}
        | dict.fromkeys(REPORT_METRICS, pl.Float64)
    )
    return pl.DataFrame([row], schema=types)


@pytest.mark.parametrize("name", REPORT_METRICS)
def test_bounds_come_from_the_catalogue(name: str) -> None:
    metric = CATALOGUE[name]
    step = 1e-6
    schema = report_schema()
    for value, sound in (
        (metric.upper, True),
        (metric.upper * (1 + step), False),
        (metric.lower, not metric.lower_open),
        (metric.lower - step, False),
        (float("nan"), False),
        (float("inf"), False),
    ):
        found = faults(frame(**{name: value}), schema)
        assert (not found) is sound
        if found:
            assert found[0].reason == "metric_out_of_bounds"
            assert metric.allowed in found[0].sentence


def test_the_first_broken_rule_in_the_order_of_fields_is_the_reason() -> None:
    row = frame(schema_version="2.0", side="HOLD", market_id="", edge_bps=1e9)
    for reason, repaired in (
        ("unsupported_version", {"schema_version": "1.0"}),
        ("bad_identifier", {"market_id": "m"}),
        ("unknown_side", {"side": "BUY"}),
        ("metric_out_of_bounds", {"edge_bps": 1.0}),
    ):
        assert faults(row, report_schema())[0].reason == reason
        row = row.with_columns(**{name: pl.lit(value) for name, value in repaired.items()})
    assert faults(row, report_schema()) == {}


def test_rules_between_fields() -> None:
    schema = report_schema()
    assert faults(frame(**dict.fromkeys(REPORT_METRICS)), schema)[0].reason == "no_metrics"
    assert faults(frame(decision="passed"), schema)[0].reason == "pass_with_metrics"
    assert faults(frame(decision="passed", **dict.fromkeys(REPORT_METRICS)), schema) == {}
    assert faults(frame(decision="declined"), schema)[0].reason == "unknown_decision"
    assert faults(frame(mode="replay"), schema)[0].reason == "replay_not_from_backtester"
    assert faults(frame(mode="replay", bot_id="gov.backtester"), schema) == {}
    assert faults(frame(mode=None, bot_id=None), schema)[0].reason == "missing_field"


def test_the_latest_moment_is_the_same_for_every_clock_to_the_microsecond() -> None:
    assert faults(frame(emitted_at=LATEST), report_schema()) == {}
    row = frame(emitted_at=LATEST + timedelta(microseconds=1))
    assert faults(row, report_schema())[0].reason == "in_the_future"


def test_every_reason_of_the_schema_says_what_is_allowed() -> None:
    schema = report_schema()
    checks = [check for column in schema.columns.values() for check in column.checks] + list(schema.checks)
    reasons = {check.error for check in checks}
    assert reasons <= set(get_args(Reason))
    assert all(reason in ALLOWED or f"{reason}:edge_bps" in ALLOWED for reason in reasons)
