"""The strict reader: every line is counted in exactly one place, for every kind of bad input, alone and mixed."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import FIELDS, OPTIONAL
from et_pipeline.ingest.decode import RAW_CHARACTERS, ROWS_SCHEMA
from et_pipeline.ingest.sources import BLOCK_BYTES, MAX_LINE_BYTES
from et_pipeline.ingest.times import parse_times
from et_pipeline_tests.ingest.lab import Read, line, ndjson, read, report, write, write_parquet

GOOD = line(report())


def changed(old: str, new: str | bytes) -> bytes:
    """The good line with one place changed, byte by byte."""
    assert GOOD.count(old.encode()) == 1
    return GOOD.replace(old.encode(), new if isinstance(new, bytes) else new.encode())


def without(field: str) -> bytes:
    return line({name: value for name, value in report().items() if name != field})


BAD: dict[str, tuple[bytes, str]] = {
    "trailing comma": (changed("3.25}}", "3.25},}"), "malformed_json"),
    "trailing comma in metrics": (changed("3.25}}", "3.25,}}"), "malformed_json"),
    "NaN": (changed("12.5", "NaN"), "malformed_json"),
    "Infinity": (changed("12.5", "Infinity"), "malformed_json"),
    "-Infinity": (changed("12.5", "-Infinity"), "malformed_json"),
    "1e999": (changed("12.5", "1e999"), "malformed_json"),
    "-1e999": (changed("12.5", "-1e999"), "malformed_json"),
    "huge integer": (changed("12.5", "1" + "0" * 30), "metric_out_of_bounds"),
    "integer beyond a double": (changed("12.5", "1" + "0" * 309), "metric_out_of_bounds"),
    "integer of 5000 digits": (changed("12.5", "9" * 5000), "malformed_json"),
    "leading zero": (changed("12.5", "012.5"), "malformed_json"),
    "plus sign": (changed("12.5", "+12.5"), "malformed_json"),
    "bare point": (changed("12.5", "12."), "malformed_json"),
    "hexadecimal": (changed("12.5", "0x10"), "malformed_json"),
    "lone high surrogate": (changed('"YES"', r'"\ud800"'), "malformed_json"),
    "lone low surrogate": (changed('"YES"', r'"\uDC00"'), "malformed_json"),
    "surrogate as bytes": (changed('"YES"', b'"\xed\xa0\x80"'), "not_utf8"),
    "not UTF-8": (changed('"YES"', b'"\xff"'), "not_utf8"),
    "overlong UTF-8": (changed('"YES"', b'"\xc0\xaf"'), "not_utf8"),
    "UTF-16": (GOOD.decode().encode("utf-16-le"), "malformed_json"),
    "truncated": (GOOD[:-20], "malformed_json"),
    "truncated in a text": (GOOD[:40], "malformed_json"),
    "two documents": (GOOD + GOOD, "malformed_json"),
    "two documents, space": (GOOD + b" " + GOOD, "malformed_json"),
    "two documents, comma": (GOOD + b"," + GOOD, "malformed_json"),
    "a document and rubbish": (GOOD + b"x", "malformed_json"),
    "NUL in a text": (changed('"YES"', b'"\x00"'), "malformed_json"),
    "NUL escaped": (changed('"YES"', r'"\u0000"'), "malformed_json"),
    "NUL after an escaped backslash": (changed('"YES"', r'"\\\u0000"'), "malformed_json"),
    "NUL at the end": (GOOD + b"\x00", "malformed_json"),
    "NULs only": (b"\x00" * 50, "malformed_json"),
    "control character": (changed('"YES"', b'"\x01"'), "malformed_json"),
    "tab in a text": (changed('"YES"', b'"Y\tS"'), "malformed_json"),
    "escaped control character": (changed('"YES"', r'"\u001f"'), "bad_identifier"),
    "escaped tab": (changed('"YES"', r'"Y\tS"'), "bad_identifier"),
    "DEL": (changed('"YES"', b'"\x7f"'), "bad_identifier"),
    "C1 control character": (changed('"YES"', '"\x85"'), "bad_identifier"),
    "repeated key": (changed('"side":"BUY"', '"side":"BUY","side":"BUY"'), "repeated_key"),
    "repeated key, escaped": (changed('"side":"BUY"', r'"side":"BUY","\u0073ide":"SELL"'), "repeated_key"),
    "repeated metric": (changed('"edge_bps":12.5', '"edge_bps":12.5,"edge_bps":1'), "repeated_key"),
    "repeated metric, null": (changed('"edge_bps":12.5', '"edge_bps":12.5,"edge_bps":null'), "repeated_key"),
    "repeated unknown key": (changed('"side":"BUY"', '"side":"BUY","x":1,"x":2'), "repeated_key"),
    "repeated key deep inside": (changed('"side":"BUY"', '"side":"BUY","x":[{"a":1,"a":2}]'), "repeated_key"),
    "list": (b"[1,2]", "not_an_object"),
    "text": (b'"OperationsReport"', "not_an_object"),
    "number": (b"17", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "rubbish": (b"2026-01-01 INFO exporter restarted", "malformed_json"),
    "empty": (b"", "blank_line"),
    "white space": (b"  \t ", "blank_line"),
    "nested too deeply": (changed('"side":"BUY"', '"side":"BUY","x":' + "[" * 100_000), "malformed_json"),
    "kind missing": (without("kind"), "bad_kind"),
    "kind a number": (line(report(kind=5)), "bad_kind"),
    "kind empty": (line(report(kind="")), "bad_kind"),
    "kind too long": (line(report(kind="k" * 201)), "bad_kind"),
    "other major": (line(report(schema_version="2.0")), "unsupported_version"),
    "major 10": (line(report(schema_version="10.0")), "unsupported_version"),
    "version in words": (line(report(schema_version="one")), "unsupported_version"),
    "version without minor": (line(report(schema_version="1")), "unsupported_version"),
    "version with line end": (line(report(schema_version="1.0\n")), "unsupported_version"),
    "version a number": (line(report(schema_version=1.0)), "wrong_type"),
    "other major, other fields": (
        line({"kind": "OperationsReport", "schema_version": "2.1"}),
        "unsupported_version",
    ),
    "wrong type": (line(report(strategy_id=17)), "wrong_type"),
    "text for a number": (line(report(metrics={"edge_bps": "12.5"})), "wrong_type"),
    "truth for a number": (line(report(metrics={"edge_bps": True})), "wrong_type"),
    "object for a number": (line(report(metrics={"edge_bps": {}})), "wrong_type"),
    "metrics a list": (line(report(metrics=[1])), "wrong_type"),
    "metrics null": (line(report(metrics=None)), "missing_field"),
    "metrics missing": (without("metrics"), "missing_field"),
    "metrics empty": (line(report(metrics={})), "no_metrics"),
    "metrics unknown only": (line(report(metrics={"new_bps": 1.0})), "no_metrics"),
    "pass with metrics": (line(report(decision="passed")), "pass_with_metrics"),
    "pass with a metric out of bounds": (
        line(report(decision="passed", metrics={"edge_bps": 1e9})),
        "metric_out_of_bounds",
    ),
    "decision unknown": (line(report(decision="declined")), "unknown_decision"),
    "decision empty": (line(report(decision="")), "unknown_decision"),
    "decision in capitals": (line(report(decision="PASSED", metrics={})), "unknown_decision"),
    "decision a truth": (line(report(decision=True)), "wrong_type"),
    "traded without metrics": (line(report(decision="traded", metrics={})), "no_metrics"),
    "metrics null only": (line(report(metrics={"edge_bps": None})), "no_metrics"),
    "labels a list": (line(report(labels=["north"])), "wrong_type"),
    "labels a text": (line(report(labels="north")), "wrong_type"),
    "label a number": (line(report(labels={"desk": 1})), "wrong_type"),
    "label an object": (line(report(labels={"desk": {}})), "wrong_type"),
    "label empty": (line(report(labels={"desk": ""})), "bad_labels"),
    "label too long": (line(report(labels={"desk": "x" * 101})), "bad_labels"),
    "label with a C1 control character": (line(report(labels={"desk": "\x85"})), "bad_labels"),
    "label with a line end": (line(report(labels={"desk": "a\n"})), "bad_labels"),
    "label without a name": (line(report(labels={"": "x"})), "bad_labels"),
    "label with a point in its name": (line(report(labels={"a.b": "x"})), "bad_labels"),
    "too many labels": (line(report(labels={f"l{number}": "x" for number in range(17)})), "bad_labels"),
    "repeated label": (changed('"side":"BUY"', '"side":"BUY","labels":{"a":"x","a":"y"}'), "repeated_key"),
    "field missing": (without("correlation_id"), "missing_field"),
    "field null": (line(report(market_id=None)), "missing_field"),
    "id empty": (line(report("")), "bad_identifier"),
    "id too long": (line(report("x" * 201)), "bad_identifier"),
    "mode": (line(report(mode="paper")), "unknown_mode"),
    "mode in capitals": (line(report(mode="LIVE")), "unknown_mode"),
    "side": (line(report(side="HOLD")), "unknown_side"),
    "replay from elsewhere": (line(report(mode="replay")), "replay_not_from_backtester"),
    "no offset": (line(report(emitted_at="2026-11-01T12:00:00")), "bad_time"),
    "date only": (line(report(emitted_at="2026-11-01")), "bad_time"),
    "epoch number as text": (line(report(emitted_at="1793534400")), "bad_time"),
    "impossible day": (line(report(emitted_at="2026-02-30T12:00:00Z")), "bad_time"),
    "hour 24": (line(report(emitted_at="2026-11-01T24:00:00Z")), "bad_time"),
    "second 60": (line(report(emitted_at="2026-11-01T12:00:60Z")), "bad_time"),
    "offset too large": (line(report(emitted_at="2026-11-01T12:00:00+24:00")), "bad_time"),
    "other digits": (line(report(emitted_at="２０２６-11-01T12:00:00Z")), "bad_time"),
    "time null": (line(report(emitted_at=None)), "bad_time"),
    "future": (line(report(emitted_at="2999-01-01T00:00:00Z")), "in_the_future"),
    "a microsecond after every window": (line(report(emitted_at="2201-01-01T00:00:00Z")), "in_the_future"),
    "year 9999": (line(report(emitted_at="9999-12-31T23:59:59-23:59")), "bad_time"),
    "year 1969": (line(report(emitted_at="1969-12-31T23:59:59Z")), "bad_time"),
    "bps too large": (line(report(metrics={"edge_bps": 10_000.01})), "metric_out_of_bounds"),
    "share above 1": (line(report(metrics={"fill_ratio": 1.0000001})), "metric_out_of_bounds"),
    "share below 0": (line(report(metrics={"fill_ratio": -1e-300})), "metric_out_of_bounds"),
    "latency 0": (line(report(metrics={"latency_ms": 0})), "metric_out_of_bounds"),
    "latency beyond a day": (line(report(metrics={"latency_ms": 86_400_001})), "metric_out_of_bounds"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_goes_to_quarantine_and_its_neighbours_do_not(tmp_path: Path, name: str) -> None:
    bad, reason = BAD[name]
    found = read(tmp_path, line(report("r1")) + b"\n" + bad + b"\n" + line(report("r2")) + b"\n" + bad)
    assert found.reasons == [(2, reason), *([(4, reason)] if bad else [])], "the last one has no line end"
    assert [row["report_id"] for row in found.reports] == ["r1", "r2"]
    row = found.bad[0]
    assert row.raw == bad.decode("utf-8", "backslashreplace")[:RAW_CHARACTERS] + (
        "…" if len(bad) > RAW_CHARACTERS else ""
    )
    assert 10 < len(row.sentence) < 400


@pytest.mark.parametrize("reason", sorted({reason for bad, reason in BAD.values() if bad}))
def test_a_bad_line_alone_without_line_end(tmp_path: Path, reason: str) -> None:
    bad = next(bad for bad, why in BAD.values() if why == reason and bad)
    assert read(tmp_path, bad).reasons == [(1, reason)]


@pytest.mark.parametrize("seed", range(2))
def test_bad_lines_of_every_kind_mixed(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    lines: list[tuple[bytes, str | None]] = [(bad, reason) for bad, reason in BAD.values() for _ in range(3)]
    lines += [(line(report(f"good-{number}")), None) for number in range(300)]
    lines += [(line(report(f"new-{number}", venue="x", schema_version="1.7")), None) for number in range(50)]
    generator.shuffle(lines)
    found = read(tmp_path, b"\n".join(text for text, _ in lines) + b"\n")
    assert found.lines == len(lines)
    assert found.reasons == [(number, reason) for number, (_, reason) in enumerate(lines, 1) if reason]
    assert len(found.reports) == 350


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (GOOD, ["r1"]),
        (GOOD + b"\n", ["r1"]),
        (b"\xef\xbb\xbf" + GOOD + b"\n", ["r1"]),
        (b"\xef\xbb\xbf", []),
        (GOOD + b"\r\n" + line(report("r2")) + b"\r\n", ["r1", "r2"]),
        (b"  " + GOOD + b" \t\n" + line(report("r2")), ["r1", "r2"]),
        (json.dumps(report(), indent=None, separators=(" , ", " : ")).encode(), ["r1"]),
    ],
    ids=[
        "0 bytes",
        "no line end",
        "one line",
        "BOM",
        "BOM only",
        "CRLF",
        "white space around",
        "white space within",
    ],
)
def test_sound_files_of_odd_form(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    found = read(tmp_path, content)
    assert [row["report_id"] for row in found.reports] == expected
    assert found.bad == []


def test_a_document_over_two_lines_beside_two_on_one(tmp_path: Path) -> None:
    """As many documents as lines, but not one a line: a count alone would be fooled."""
    two = GOOD + line(report("r2"))
    broken = line(report("r3")).replace(b',"kind"', b',\n"kind"')
    found = read(tmp_path, two + b"\n" + broken + b"\n")
    assert found.lines == 3
    assert [reason for _, reason in found.reasons] == ["malformed_json"] * 3


def test_values_arrive_exactly(tmp_path: Path) -> None:
    metrics = dict(
        zip(
            REPORT_METRICS,
            (-10_000, 0.1, 1.0, 5e-324, -0.0, 1e12, 0.30000000000000004, -1e9, 1e12),
            strict=False,
        )
    )
    [row] = read(tmp_path, ndjson([report("ünïcødé 🎲", metrics=metrics)])).reports
    assert row["report_id"] == "ünïcødé 🎲"
    assert {name: row[name] for name in REPORT_METRICS} == metrics
    assert row["extra"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01T12:00:00Z", datetime(2026, 11, 1, 12)),
        ("2026-11-01T12:00:00.5Z", datetime(2026, 11, 1, 12, 0, 0, 500_000)),
        ("2026-11-01T12:00:00.123456789Z", datetime(2026, 11, 1, 12, 0, 0, 123_456)),
        ("2026-11-01T12:00:00+05:30", datetime(2026, 11, 1, 6, 30)),
        ("2026-11-01T00:15:00.000001-00:30", datetime(2026, 11, 1, 0, 45, 0, 1)),
        ("1970-01-01T00:00:00+01:00", datetime(1969, 12, 31, 23)),
        ("2024-02-29T23:59:59.999999Z", datetime(2024, 2, 29, 23, 59, 59, 999_999)),
        ("2026-11-20T12:00:00Z", datetime(2026, 11, 20, 12)),
        ("2026-11-01T12:00Z", datetime(2026, 11, 1, 12)),
        ("2026-11-01T12:00+01:00", datetime(2026, 11, 1, 11)),
        ("2026-11-01T12:00:00+0530", datetime(2026, 11, 1, 6, 30)),
        ("2026-11-01T12:00:00-03", datetime(2026, 11, 1, 15)),
        ("2026-11-01T12:00:00,250Z", datetime(2026, 11, 1, 12, 0, 0, 250_000)),
        ("2026-11-01t12:00:00z", datetime(2026, 11, 1, 12)),
        ("2026-11-01 12:00:00.5+00:00", datetime(2026, 11, 1, 12, 0, 0, 500_000)),
        ("20261101T120000Z", datetime(2026, 11, 1, 12)),
        ("20261101T1200-0030", datetime(2026, 11, 1, 12, 30)),
        ("2026-11-01T12:00:00.1234567890Z", datetime(2026, 11, 1, 12, 0, 0, 123_456)),
        ("2026-11-01T12:00:00-00:00", datetime(2026, 11, 1, 12)),
    ],
)
def test_times(tmp_path: Path, text: str, expected: datetime) -> None:
    [row] = read(tmp_path, ndjson([report(emitted_at=text)])).reports
    assert row["emitted_at"] == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        ("", 0),
        (".123456", 0),
        (".1234560", 0),
        (".1234567", 700_000),
        (".123456789", 789_000),
        (",000000001", 1_000),
        (".999999999999", 999_999),
        (".000000000001", 1),
    ],
)
@pytest.mark.parametrize(
    "form", ["2026-11-01T12:00:00{}Z", "20261101T120000{}+0530", "1970-01-01 00:10:00{}+01"]
)
def test_digits_below_the_microsecond_are_kept_and_are_no_content(
    tmp_path: Path, form: str, fraction: str, expected: int
) -> None:
    fine, cut = report(emitted_at=form.format(fraction)), report(emitted_at=form.format(fraction[:7]))
    many = ndjson([*[fine] * 100, *[cut] * 100])
    for rows in (read(tmp_path, ndjson([fine, cut])).content, read(tmp_path, many).content[99:101]):
        assert rows[0]["emitted_below_us"] == expected
        assert rows[1] == rows[0] | {"emitted_below_us": 0}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("odd", [{}, {"venue": "b"}])
def test_parquet_times_keep_their_nanoseconds(tmp_path: Path, unit: str, odd: dict[str, str]) -> None:
    """With an unknown field each row is looked at by itself, and Python's own times end at the microsecond."""
    texts = [
        "2026-11-01T12:00:00.250000789Z",
        "1970-01-01T00:00:00.000000001Z",
        "2200-12-31T23:59:59.999999999Z",
    ]
    documents = [report(f"r{number}", emitted_at=text, **odd) for number, text in enumerate(texts)]
    times = (
        pl.col("emitted_at").str.to_datetime("%+", time_zone="UTC", time_unit="ns").dt.cast_time_unit(unit)
    )
    shown = [text[: {"ms": 23, "us": 26, "ns": 29}[unit]] + "Z" for text in texts]
    expected = [row | {"emitted_at": text} for row, text in zip(documents, shown, strict=True)]
    for zone in ("UTC", "America/New_York"):
        path = write_parquet(tmp_path / "x.parquet", documents, emitted_at=times.dt.convert_time_zone(zone))
        assert Read(path).content == read(tmp_path, ndjson(expected)).content
    assert Read(path).content[0]["emitted_below_us"] == (789_000 if unit == "ns" else 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-01T12:00:00", "it has no offset from UTC"),
        ("20261101T1200", "it has no offset from UTC"),
        ("2026-W44-7T12:00:00Z", "this is not a time"),
        ("2026-305T12:00:00Z", "this is not a time"),
        ("2026-1101T12:00:00Z", "this is not a time"),
        ("2026-11-01T12:00:00.Z", "this is not a time"),
        ("2026-11-01T12:00:00Z[UTC]", "this is not a time"),
        ("+002026-11-01T12:00:00Z", "this is not a time"),
        ("2026-11-31T12:00Z", "this is not a time"),
        ("20260229T120000Z", "this is not a time"),
        (None, "emitted_at is missing or null"),
    ],
)
def test_a_time_that_is_refused_is_shown_with_what_is_allowed(
    tmp_path: Path, text: str | None, why: str
) -> None:
    found = read(
        tmp_path, ndjson([report("a"), report("b", emitted_at=text), report("c", emitted_at="20261101T12Z")])
    )
    assert found.reasons == [(2, "bad_time"), (3, "bad_time")]
    sentence = found.bad[0].sentence
    assert why in sentence and repr(text or "").strip("'") in sentence
    assert "RFC 3339 or ISO-8601" in sentence and "for example 2026-11-01T12:00:00.250Z" in sentence


def test_parquet_times_without_a_zone_are_shown_with_what_is_missing(tmp_path: Path) -> None:
    naive = pl.lit(datetime(2026, 11, 1, 12))
    [bad] = Read(write_parquet(tmp_path / "x.parquet", [report()], emitted_at=naive)).bad
    assert bad.reason == "bad_time"
    assert "2026-11-01T12:00:00.000000': it has no offset from UTC" in bad.sentence


@settings(max_examples=80)
@given(
    moments=st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31)), min_size=1, max_size=6),
    data=st.data(),
)
def test_every_spelling_of_a_moment_is_that_moment(moments: list[datetime], data: st.DataObject) -> None:
    """The standard library prints and reads each; a batch may hold several spellings."""
    texts = []
    for moment in moments:
        basic = data.draw(st.booleans())
        offset = data.draw(st.sampled_from(["Z", "z", "+00", "+0000", "-00:00", "+00:00"]))
        text = moment.strftime("%Y%m%dT%H%M%S" if basic else "%Y-%m-%dT%H:%M:%S")
        texts.append(f"{text}{data.draw(st.sampled_from('.,'))}{moment.microsecond:06}{offset}")
    assert parse_times(pl.Series("emitted_at", texts, dtype=pl.String)).to_list() == moments


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    documents = [
        report("r1", schema_version="1.7", venue="b", book={"z": [1, 2.5, "ü"], "a": 10**30}),
        report("r2", metrics={"edge_bps": 1, "new_bps": 2.5}),
        report("r3", venue=None),
    ]
    rows = read(tmp_path, ndjson(documents)).reports
    assert rows[0]["extra"] == f'{{"book":{{"a":{10**30},"z":[1,2.5,"ü"]}},"venue":"b"}}'
    assert rows[1]["extra"] == '{"metrics":{"new_bps":2.5}}'
    assert rows[2]["extra"] is None


def test_other_kinds_and_our_own_reports_are_counted(tmp_path: Path) -> None:
    own = report(
        bot_id="gov.experimenttracker", correlation_id=None, metrics={}, reason_code="EXPERIMENT_STARTED"
    )
    documents = [report(), {"kind": "Heartbeat"}, {"kind": "Heartbeat", "x": []}, {"kind": "Fill"}, own]
    found = read(tmp_path, ndjson(documents))
    assert found.skipped == {"Heartbeat": 2, "Fill": 1, "OperationsReport (own)": 1}
    assert len(found.reports) == 1
    assert read(tmp_path, b'{"kind":"Heartbeat","x":NaN}').reasons == [(1, "malformed_json")]


@pytest.mark.parametrize(
    "length", [MAX_LINE_BYTES - 1, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, MAX_LINE_BYTES + BLOCK_BYTES + 7]
)
@pytest.mark.parametrize("before", [0, 1, 5000])
def test_long_lines_whatever_stands_before_them(tmp_path: Path, length: int, before: int) -> None:
    filler = line(report("long", note=""))
    long_line = filler.replace(b'"note":""', b'"note":"' + b"x" * (length - len(filler)) + b'"')
    assert len(long_line) == length
    content = (
        ndjson(report(f"r{number}") for number in range(before)) + long_line + b"\n" + line(report("last"))
    )
    found = read(tmp_path, content)
    assert found.lines == before + 2
    expected = [] if length <= MAX_LINE_BYTES else [(before + 1, "line_too_long")]
    assert found.reasons == expected
    assert found.reports[-1]["report_id"] == "last"


def test_a_line_of_100_megabytes_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.ndjson"
    with path.open("wb") as file:
        file.write(GOOD + b'\n{"x":"')
        for _ in range(100):
            file.write(b"y" * 1_000_000)
        file.write(b'"}\n' + line(report("r2")) + b"\n")
    tracemalloc.start()
    found = Read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.reasons == [(2, "line_too_long")]
    assert "100000008 bytes" in found.bad[0].sentence
    assert len(found.bad[0].raw) == RAW_CHARACTERS + 1
    assert [row["report_id"] for row in found.reports] == ["r1", "r2"]
    assert peak < 20_000_000


def test_every_format_gives_the_same_content(tmp_path: Path) -> None:
    documents = [
        report(
            f"r{number}",
            side="SELL" if number % 3 else "BUY",
            metrics={"edge_bps": number / 7, "latency_ms": 1.5, "fill_ratio": 0.0},
            **({"venue": f"v{number}", "schema_version": "1.1"} if number % 5 == 0 else {}),
        )
        for number in range(200)
    ]
    content = ndjson(documents)
    rows = [
        Read(write(tmp_path / name, content)).content for name in ("a.ndjson", "b.ndjson.gz", "c.ndjson.zst")
    ]
    shuffled = [
        dict(random.Random(number).sample(list(d.items()), len(d))) for number, d in enumerate(documents)
    ]
    rows.append(Read(write(tmp_path / "d.ndjson", ndjson(shuffled))).content)
    full = [{**document, "venue": document.get("venue")} for document in documents]
    rows.append(Read(write_parquet(tmp_path / "e.parquet", full)).content)
    times = pl.col("emitted_at").str.to_datetime(time_zone="UTC", time_unit="us")
    rows.append(Read(write_parquet(tmp_path / "f.parquet", full, emitted_at=times)).content)
    zoned = times.dt.convert_time_zone("Asia/Tokyo")
    rows.append(Read(write_parquet(tmp_path / "g.parquet", full, emitted_at=zoned)).content)
    assert len(rows[0]) == 200
    for other in rows[1:]:
        assert other == rows[0]


def test_a_pass_is_a_report_without_metrics_in_every_format_and_form(tmp_path: Path) -> None:
    """By hundreds of one form (the fast way), some in a form of their own (the exact way), and as Parquet."""
    passes = [report(f"p{number}", decision="passed", metrics={}) for number in range(150)]
    trades = [report(f"t{number}", decision="traded") for number in range(150)]
    plain = [report(f"n{number}") for number in range(150)]
    documents = [*passes, *trades, *plain]
    alike = read(tmp_path, ndjson(documents)).content
    alone = [row for document in documents[::25] for row in read(tmp_path, line(document)).content]
    assert alike[::25] == alone
    assert [row["decision"] for row in alike] == ["passed"] * 150 + ["traded"] * 300
    assert {row["edge_bps"] for row in alike} == {None, 12.5}
    for odd in ({"metrics": None}, {"metrics": {"edge_bps": None}}):
        assert read(tmp_path, ndjson([p | odd for p in passes])).content == alike[:150]
    bare = [{name: value for name, value in p.items() if name != "metrics"} for p in passes]
    assert read(tmp_path, ndjson(bare)).content == alike[:150]
    said = [{"decision": None} | document for document in documents]
    assert Read(write_parquet(tmp_path / "a.parquet", said)).content == alike
    assert Read(write_parquet(tmp_path / "b.parquet", plain)).content == alike[300:]


def test_a_trade_keeps_the_hash_it_had_before_a_report_could_say_so(tmp_path: Path) -> None:
    [silent, said] = read(tmp_path, ndjson([report(), report(decision="traded")])).content
    assert silent == said
    empty = report(metrics={"toxicity_bps": 1.0})
    [trade] = read(tmp_path, ndjson([empty])).content
    [passed] = read(tmp_path, ndjson([empty | {"metrics": {}, "decision": "passed"}])).content
    assert trade["content_hash"] != passed["content_hash"]


def test_parquet_rows_are_held_to_the_same_rules(tmp_path: Path) -> None:
    documents = [
        report("good"),
        report("nan", metrics={"edge_bps": float("nan")}),
        report("inf", metrics={"edge_bps": float("-inf")}),
        report("none", metrics={}),
        report("mode", mode="paper"),
        report("null", market_id=None),
        report("other", kind="Heartbeat"),
        report("own", bot_id="gov.experimenttracker"),
        report("time", emitted_at="2026-11-01T12:00:00"),
    ]
    found = Read(write_parquet(tmp_path / "x.parquet", documents))
    assert found.reasons == [
        (2, "metric_out_of_bounds"),
        (3, "metric_out_of_bounds"),
        (4, "no_metrics"),
        (5, "unknown_mode"),
        (6, "missing_field"),
        (9, "bad_time"),
    ]
    assert found.skipped == {"Heartbeat": 1, "OperationsReport (own)": 1}
    assert json.loads(found.bad[3].raw)["mode"] == "paper"


OWN_NAMES = sorted(
    {
        *ROWS_SCHEMA,
        *(
            "line",
            "plain",
            "row",
            "raw",
            "emitted_below_us",
            "text",
            "sound",
            "source",
            "doubtful",
            "kind_",
            "p1",
            "p3",
        ),
        *("snapshot_id", "batch", "report_key", "opportunity_key", "content_hash", "metrics_", "lines"),
    }
    - {*FIELDS, *OPTIONAL, *REPORT_METRICS}
)


TAKEN_NAMES = [*OWN_NAMES, *REPORT_METRICS]


@pytest.mark.parametrize(
    ("names", "value"),
    [
        *(((name,), "x") for name in TAKEN_NAMES),
        *((TAKEN_NAMES, value) for value in (-3.5, 7, True, Decimal("-3.25"), ["a", "b"])),
    ],
)
def test_an_unknown_field_is_kept_whatever_its_name_in_every_format(
    tmp_path: Path, names: Sequence[str], value: object
) -> None:
    """Its name may be one that the reader or the warehouse uses for a column of its own: each alone, then all at once."""
    json_value = float(value) if isinstance(value, Decimal) else value
    ours, theirs = (
        [report(f"r{number}", schema_version="1.1", **dict.fromkeys(names, shown)) for number in range(3)]
        + [report("r3")]
        for shown in (json_value, value)
    )
    told = read(tmp_path, ndjson(ours))
    stored = Read(write_parquet(tmp_path / "x.parquet", [dict.fromkeys(names) | row for row in theirs]))
    assert stored.content == told.content
    assert [json.loads(row["extra"]) for row in told.reports[:3]] == [dict.fromkeys(names, json_value)] * 3
    assert [row["line"] for row in stored.reports] == [1, 2, 3, 4]


LABELLED = [
    {"labels": {"venue": "x", "desk": "nörth 1"}},
    {"labels": {"desk": "y" * 100, "venue": "z"}, "note": "n"},
    {"labels": {}},
    {"labels": None},
    {"labels": {"desk": None}},
    {"labels": {"desk": 'with \\ and " inside'}},
    {"zone": "before", "labels": {"a": "b"}},
]
KEPT = [
    '{"labels":{"desk":"nörth 1","venue":"x"}}',
    f'{{"labels":{{"desk":"{"y" * 100}","venue":"z"}},"note":"n"}}',
    None,
    None,
    None,
    '{"labels":{"desk":"with \\\\ and \\" inside"}}',
    '{"labels":{"a":"b"},"zone":"before"}',
]


def test_labels_are_kept_the_same_whatever_the_way_and_the_format(tmp_path: Path) -> None:
    """One by one the lines go the exact way; many alike go the fast one."""
    one_by_one = [read(tmp_path, ndjson([report("r", **labels)])).reports[0]["extra"] for labels in LABELLED]
    assert one_by_one == KEPT
    documents = [
        report(f"r{kind}-{number}", **LABELLED[kind])
        for kind in range(len(LABELLED))
        for number in range(200)
    ]
    many = read(tmp_path, ndjson(documents))
    assert [row["extra"] for row in many.reports] == [extra for extra in KEPT for _ in range(200)]
    columns = {"labels": None, "note": None, "zone": None}
    frame = pl.DataFrame([columns | row for row in documents], infer_schema_length=None)
    frame.write_parquet(tmp_path / "x.parquet")
    assert Read(tmp_path / "x.parquet").content == many.content


def test_a_label_that_is_too_long_is_found_among_many_lines_alike(tmp_path: Path) -> None:
    documents = [report(f"r{number}", labels={"desk": "x" * (99 + number % 3)}) for number in range(300)]
    found = read(tmp_path, ndjson(documents))
    assert [line for line, _ in found.reasons] == [number + 1 for number in range(300) if number % 3 == 2]
    assert {reason for _, reason in found.reasons} == {"bad_labels"}
    assert len(found.reports) == 200


@settings(max_examples=25)
@given(
    values=st.lists(
        st.decimals(-9999, 9999, places=9) | st.decimals(-1, 1, places=18) | st.none(), min_size=1, max_size=9
    ),
    unknown=st.booleans(),
)
def test_decimal_metrics_are_the_numbers_that_they_would_be_as_json(
    tmp_path_factory: pytest.TempPathFactory, values: list[Decimal | None], unknown: bool
) -> None:
    folder = tmp_path_factory.mktemp("decimals")
    metrics = [{"edge_bps": value, "latency_ms": Decimal("1.5")} for value in values]
    frame = pl.DataFrame([report(f"r{number}") for number in range(len(values))]).with_columns(
        metrics=pl.Series(
            metrics, dtype=pl.Struct({"edge_bps": pl.Decimal(38, 18), "latency_ms": pl.Decimal(18, 3)})
        )
    )
    frame = frame.with_columns(note=pl.lit("n")) if unknown else frame
    frame.write_parquet(folder / "x.parquet")
    found = Read(folder / "x.parquet")
    expected = [None if value is None else float(value) for value in values]
    assert [row["edge_bps"] for row in found.reports] == expected
    assert {row["latency_ms"] for row in found.reports} == {1.5}


def test_parquet_of_another_shape_is_refused_row_by_row(tmp_path: Path) -> None:
    pl.DataFrame({"kind": ["OperationsReport"] * 3, "report_id": [1, 2, 3]}).write_parquet(
        tmp_path / "a.parquet"
    )
    assert [reason for _, reason in Read(tmp_path / "a.parquet").reasons] == ["wrong_type"] * 3
    pl.DataFrame({"other": [1, 2]}).write_parquet(tmp_path / "b.parquet")
    assert [reason for _, reason in Read(tmp_path / "b.parquet").reasons] == ["bad_kind"] * 2
    write_parquet(tmp_path / "c.parquet", [report()], emitted_at=pl.lit(datetime(2026, 11, 1)))
    assert [reason for _, reason in Read(tmp_path / "c.parquet").reasons] == ["bad_time"]
    write_parquet(tmp_path / "d.parquet", [report()], emitted_at=pl.lit(datetime(2026, 11, 1, tzinfo=UTC)))
    assert len(Read(tmp_path / "d.parquet").reports) == 1
