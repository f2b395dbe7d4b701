"""Duplicates and conflicts: which reports stay depends on the set of reports, not on the order in which they came."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from et_pipeline.ingest import store
from et_pipeline.ingest.resolve import resolve
from et_pipeline.settings import Settings
from et_pipeline_tests.ingest.lab import NOW, ndjson, report, rows, run, write
from et_pipeline_tests.migrated import put_warehouse

BALANCE = "SELECT count(*) FROM snapshots WHERE lines <> reports + duplicates + skipped + quarantined"
STORED = """
SELECT count(*) FROM snapshots s
WHERE s.reports <> (SELECT count(*) FROM reports r WHERE r.snapshot_id = s.snapshot_id)
   OR s.quarantined <> (SELECT count(*) FROM quarantine q WHERE q.snapshot_id = s.snapshot_id)
"""


def contents(number: int) -> dict[str, Any]:
    """One of a few reports: four ids, up to six contents each, some of them at the same time.

    From 100 on the same reports come with two more digits, from 200 on with three: these are no other contents.
    """
    number, digits = number % 100, ("", ".0000005", ".000000501")[number // 100]
    identity, version = divmod(number, 6)
    return report(
        f"id-{identity}",
        emitted_at=f"2026-11-01T12:00:0{version // 2}{digits}Z",
        metrics={"edge_bps": float(version)},
        **({"venue": "b"} if version == 5 else {}),
    )


def tables(present: Settings) -> tuple[set[Any], set[Any]]:
    assert rows(present, BALANCE) == [(0,)]
    assert rows(present, STORED) == [(0,)]
    assert rows(present, "SELECT report_id FROM reports GROUP BY 1 HAVING count(*) > 1") == []
    lost = rows(present, "SELECT report_id, content_hash, raw FROM quarantine WHERE reason = 'conflict'")
    assert len(set(lost)) == len(lost)  # each content once
    kept = rows(
        present, "SELECT report_id, content_hash, emitted_at, emitted_below_us, edge_bps, extra FROM reports"
    )
    return set(kept), set(lost)


def ingested(ticks: list[list[list[int]]], suffix: str = "ndjson") -> tuple[set[Any], set[Any]]:
    """The tables after ticks of files of reports."""
    with tempfile.TemporaryDirectory() as folder:
        present = Settings(data_dir=Path(folder))
        put_warehouse(present)
        present.report_bus_dir.mkdir()
        for tick, files in enumerate(ticks):
            for name, numbers in enumerate(files):
                documents = ndjson(contents(number) for number in numbers)
                write(present.report_bus_dir / f"{tick}-{name}.{suffix}", documents)
            run(present)
        return tables(present)


NUMBERS = st.lists(
    st.builds(lambda digits, number: 100 * digits + number, st.integers(0, 2), st.integers(0, 23)),
    min_size=1,
    max_size=25,
)


@pytest.fixture(params=[1, 3, 100_000], autouse=True)
def rows_a_statement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrivals are stored in pieces: with few rows a piece meets what its own transaction stored before."""
    monkeypatch.setattr(store, "STORE_ROWS", request.param)


@pytest.mark.parametrize("examples", [5, pytest.param(40, marks=pytest.mark.faults)])
def test_any_order_and_any_split_give_the_same_reports_and_conflicts(examples: int) -> None:
    settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])(
        given(NUMBERS, st.data())(assert_same_tables)
    )()


def assert_same_tables(numbers: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(numbers + numbers[:3]))
    ticks: list[list[list[int]]] = [[[]]]
    for number in shuffled:
        ticks[-1][-1].append(number)
        cut = data.draw(st.sampled_from(["", "", "", "file", "tick"]))
        if cut == "file":
            ticks[-1].append([])
        elif cut == "tick":
            ticks.append([[]])
    together = ingested([[numbers]])
    assert ingested(ticks) == together
    kept, lost = together
    assert len(kept) == len({number % 100 // 6 for number in numbers})
    assert len(kept) + len(lost) == len({number % 100 for number in numbers})


def test_the_earliest_content_stays_and_a_displaced_report_keeps_its_place(settings: Settings) -> None:
    bus = settings.report_bus_dir
    late = report("r1", emitted_at="2026-11-01T12:00:09Z", metrics={"edge_bps": 2.0}, venue="x")
    early = report("r1", emitted_at="2026-11-01T12:00:01Z", correlation_id="elsewhere")
    write(bus / "a.ndjson", ndjson([report("r0"), late]))
    first = run(settings)
    write(bus / "b.ndjson", ndjson([early, early, late]))
    second = run(settings)
    assert (first.reports, second.reports, second.duplicates, second.displaced) == (2, 1, 2, 1)
    assert rows(settings, "SELECT report_id, correlation_id, batch FROM reports ORDER BY 1") == [
        ("r0", "opportunity-r0", 1),
        ("r1", "elsewhere", 2),
    ]
    [(path, line, reason, raw)] = rows(settings, "SELECT path, line, reason, raw FROM quarantine")
    assert (path, line, reason) == ("a.ndjson", 2, "conflict")
    assert json.loads(raw) == late | {"emitted_at": "2026-11-01T12:00:09.000000Z"}
    assert rows(settings, "SELECT report_id, correlation_id, batch FROM displaced") == [
        ("r1", "opportunity-r1", 2)
    ]
    counts = "SELECT path, lines, reports, duplicates, quarantined FROM snapshots ORDER BY path"
    assert rows(settings, counts) == [("a.ndjson", 2, 1, 0, 1), ("b.ndjson", 3, 1, 2, 0)]


def test_the_same_content_is_a_duplicate_whatever_the_format(settings: Settings) -> None:
    document = report("r1", venue="b", metrics={"edge_bps": -0.0, "fill_ratio": 0.5})
    same = report("r1", venue="b", metrics={"fill_ratio": 5e-1, "edge_bps": 0, "latency_ms": None}) | {
        "emitted_at": "2026-11-01T13:00:00.250000+01:00"
    }
    write(settings.report_bus_dir / "a.ndjson", ndjson([document]))
    write(settings.report_bus_dir / "b.ndjson.zst", ndjson([dict(reversed(same.items()))]))
    result = run(settings)
    assert (result.reports, result.duplicates, result.quarantined) == (1, 1, 0)


def test_a_copy_without_the_last_digits_is_a_duplicate_and_the_finest_time_stays(settings: Settings) -> None:
    """A report may come twice, once through something that cuts its time; so did each before digits were kept."""
    times = ("00.25Z", "00.2500000005Z", "00.250000000Z", "00.250000000400Z")
    for number, time in enumerate(times):
        document = report("r1", emitted_at=f"2026-11-01T12:00:{time}")
        write(settings.report_bus_dir / f"{number}.ndjson", ndjson([report(f"own-{number}"), document]))
        result = run(settings)
        assert (result.displaced, result.quarantined) == (0, 0)
        assert rows(settings, BALANCE) == rows(settings, STORED) == [(0,)]
    assert rows(settings, "SELECT emitted_below_us, batch FROM reports WHERE report_id = 'r1'") == [(500, 2)]
    counts = "SELECT path, reports, duplicates FROM snapshots ORDER BY path"
    assert rows(settings, counts) == [
        ("0.ndjson", 1, 1), ("1.ndjson", 2, 0), ("2.ndjson", 1, 1), ("3.ndjson", 1, 1),
    ]  # fmt: skip
    assert rows(settings, "SELECT report_id, batch FROM displaced") == [("r1", 2)]


def test_two_ids_with_one_key_are_told_apart() -> None:
    """A key is 64 bits: two ids may share it, and are still two reports."""
    moment = NOW.replace(tzinfo=None)
    frame = pl.DataFrame(
        {
            "report_id": ["a", "b", "a", "b"],
            "report_key": pl.Series([7, 7, 7, 7], dtype=pl.UInt64),
            "content_hash": pl.Series([1, 2, 1, 3], dtype=pl.UInt64),
            "emitted_at": pl.Series([moment, moment, moment, moment - timedelta(1)], dtype=pl.Datetime("us")),
            "emitted_below_us": pl.Series([0, 0, 0, 0], dtype=pl.Int32),
        }
    )
    stored, arrivals = frame[:2], frame[2:]
    outcome = resolve(arrivals, stored, frame.select("report_id", "content_hash").clear())
    assert outcome.duplicates["report_id"].to_list() == ["a"]
    assert outcome.kept["content_hash"].to_list() == [3]
    assert outcome.displaced["content_hash"].to_list() == [2]
    assert len(outcome.conflicts) == 0


def test_small_files_of_one_transaction_know_each_other(settings: Settings) -> None:
    for number in range(30):
        write(
            settings.report_bus_dir / f"{number:02}.ndjson",
            ndjson([contents(number % 4), report(f"own-{number}")]),
        )
    result = run(settings)
    found = Counter(
        {"reports": result.reports, "duplicates": result.duplicates, "conflicts": result.reasons["conflict"]}
    )
    assert found == Counter(reports=31, duplicates=26, conflicts=3)
    assert len(result.batches) == 1
    tables(settings)
