"""Snapshots with any bytes: the reader never crashes, counts every line once, and the fast reader accepts nothing
else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline_tests.faults import targets
from et_pipeline_tests.ingest.lab import Read, line, ndjson, read, report, write

TOKENS = [
    b",",
    b"}",
    b"{",
    b'"',
    b"\\",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b":",
    b"[",
    b"]",
]
TOKENS += [
    b"null",
    b"\xef\xbb\xbf",
    b'"side":"BUY",',
    b'{"a":1}',
    b" ",
    b"\t",
    b"\x7f",
    "ü".encode(),
    b"-0",
    b"\x01",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A file of good lines with bytes cut out, put in or doubled somewhere."""
    documents = [
        report(f"r{n}", **draw(st.sampled_from(VARIATIONS))) for n in range(draw(st.integers(1, 120)))
    ]
    content = ndjson(documents)
    for _ in range(draw(st.integers(0, 12))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 2, 30, 400]))
        new = draw(
            st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(content[at : at + length]))
        )
        content = content[:at] + new + content[at + length :]
    return content


VARIATIONS: list[dict[str, Any]] = [
    {},
    {"venue": "b", "schema_version": "1.1"},
    {"metrics": {"fill_ratio": 0.0}},
    {"metrics": {"latency_ms": 1e-7, "edge_bps": 3}},
    {"kind": "Heartbeat"},
    {"bot_id": "gov.experimenttracker"},
    {"mode": "replay", "bot_id": "gov.backtester"},
    {"outcome_id": "ünïcødé"},
    {"outcome_id": "a\\b"},
    {"side": "HOLD"},
]


@pytest.mark.parametrize("examples", [60, pytest.param(500, marks=pytest.mark.faults)])
def test_many_lines_at_once_give_what_each_line_gives_alone(examples: int) -> None:
    settings(max_examples=examples)(given(mutated())(targets.reader))()


NUMBERS = st.lists(
    st.dictionaries(st.sampled_from(REPORT_METRICS), st.floats(-10_000, 10_000), min_size=1),
    min_size=2,
    max_size=80,
)


@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=pytest.mark.faults)])
def test_numbers_are_read_to_the_last_bit(examples: int) -> None:
    settings(max_examples=examples)(given(NUMBERS, st.booleans())(assert_read_to_the_last_bit))()


def assert_read_to_the_last_bit(values: list[dict[str, float]], spaced: bool) -> None:
    documents = [report(f"r{n}", metrics=metrics) for n, metrics in enumerate(values)]
    content = "\n".join(json.dumps(d, separators=None if spaced else (",", ":")) for d in documents).encode()
    with tempfile.TemporaryDirectory() as folder:
        found = read(Path(folder), content)
    good = [metrics for metrics in values if all(allowed(name, value) for name, value in metrics.items())]
    assert [{n: row[n] for n in REPORT_METRICS if row[n] is not None} for row in found.reports] == good
    assert [reason for _, reason in found.reasons] == ["metric_out_of_bounds"] * (len(values) - len(good))


def allowed(name: str, value: float) -> bool:
    metric = CATALOGUE[name]
    return metric.lower <= value <= metric.upper and not (metric.lower_open and value == metric.lower)


@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=3000), st.lists(st.sampled_from(TOKENS), max_size=200).map(b"".join))
)
def test_any_bytes_at_all(content: bytes) -> None:
    targets.reader(content)


def test_templates_take_every_form_of_a_file(tmp_path: Path) -> None:
    """Key orders, spaced JSON, versions and metrics mixed: as if each line stood alone."""
    forms = [
        line,
        lambda d: json.dumps(d).encode(),
        lambda d: line(dict(sorted(d.items()))),
        lambda d: line(dict(reversed(d.items()))),
        lambda d: line({**d, "venue": "v", "book": "ü"}),
        lambda d: line({**d, "metrics": {"fill_ratio": 0.5}}),
        lambda d: line({**d, "depth": 3}),
    ]
    lines = [forms[n % len(forms)](report(f"r{n}")) for n in range(2000)]
    found = Read(write(tmp_path / "x.ndjson", b"\n".join(lines)))
    alone = [read(tmp_path, text, "y.ndjson").content[0] for text in lines[:21]]
    assert found.bad == []
    assert found.content[:21] == alone
    assert [row["line"] for row in found.reports] == list(range(1, 2001))


def test_lines_too_odd_for_a_form_are_read_all_the_same(tmp_path: Path) -> None:
    """Names like those of metrics or texts in other places, nulls, and more or longer names than a form may have."""
    odd = [
        report(edge_bps="a text", metrics={"edge_bps": 1.5, "fill_ratio": None}),
        report(book={"book": "x", "side": "y"}),
        report(metrics={"edge_bps": 1.5, "side": "SELL", "kind": "x"}),
        report(metrics={"edge_bps": 1.5, "mode": None}, **{"a b": "c", "ü": "d"}),
        report(kind2="OperationsReport", line="7", text="t", extra="e"),
        report(**{f"field{n}": "x" for n in range(150)}),
        report(**{f"field{n}": "x" for n in range(5000)}),
        report(**{"n" * 500_000: None}),
        report(metrics={"edge_bps": 1, "latency_ms": 2.5}, empty="", **{"0": "zero"}),
    ]
    for document in odd:
        lines = [line(document | {"report_id": f"r{n}"}) for n in range(3)]
        targets.reader(b"\n".join(lines))
        assert len(read(tmp_path, b"\n".join(lines)).reports) == 3
    targets.reader(ndjson(document | {"report_id": f"r{n}"} for n, document in enumerate(odd * 2)))
