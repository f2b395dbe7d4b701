"""Reports whose time is ahead of the clock: they wait, and the final result does not depend on any clock."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from et_pipeline.defs.ingest import evaluate
from et_pipeline.due import next_wake
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.ingest.lab import NOW, ndjson, report, rows, run, write, write_parquet
from et_pipeline_tests.migrated import put_warehouse

BALANCE = """
SELECT path FROM snapshots s
WHERE lines <> reports + duplicates + skipped + quarantined + waiting
   OR reports <> (SELECT count(*) FROM reports r WHERE r.snapshot_id = s.snapshot_id)
   OR waiting <> (SELECT count(*) FROM early_reports e WHERE e.snapshot_id = s.snapshot_id)
   OR quarantined <> (SELECT count(*) FROM quarantine q WHERE q.snapshot_id = s.snapshot_id)
"""
COUNTS = "SELECT path, reports, duplicates, quarantined, waiting FROM snapshots ORDER BY snapshot_id"
SKEW = timedelta(minutes=5)
"""The default of ET_MAX_CLOCK_SKEW."""


def at(minutes: float) -> str:
    """A time so many minutes after the clock."""
    return (NOW + timedelta(minutes=minutes)).isoformat()


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_a_report_ahead_of_the_clock_waits_and_is_taken_in_once_its_time_has_come(settings: Settings) -> None:
    documents = [report("now"), report("soon", emitted_at=at(6)), report("bad", emitted_at=at(6), side="?")]
    write(settings.report_bus_dir / "a.ndjson", ndjson(documents))
    write_parquet(settings.report_bus_dir / "b.parquet", [report("far", emitted_at=at(600))])
    first = run(settings)
    assert (first.reports, first.waiting, first.quarantined) == (1, 2, 1)
    assert rows(settings, COUNTS) == [("a.ndjson", 1, 0, 1, 1), ("b.parquet", 0, 0, 0, 1)]
    assert run(settings, later(0.99)).due == 0
    second = run(settings, later(1))
    assert (second.due, second.files, second.batches) == (1, 0, [2])
    assert rows(settings, "SELECT report_id, batch, line FROM reports ORDER BY 1") == [
        ("now", 1, 1),
        ("soon", 2, 2),
    ]
    assert rows(settings, COUNTS) == [("a.ndjson", 2, 0, 1, 0), ("b.parquet", 0, 0, 0, 1)]
    assert rows(settings, "SELECT report_id FROM early_reports") == [("far",)]
    assert rows(settings, BALANCE) == []


def test_batches_keep_growing_after_one_that_read_no_file(settings: Settings) -> None:
    write(settings.report_bus_dir / "a.ndjson", ndjson([report("a", emitted_at=at(6))]))
    assert run(settings).batches == [1]
    assert run(settings, later(10)).batches == [2]
    write(settings.report_bus_dir / "b.ndjson", ndjson([report("b")]))
    assert run(settings, later(11)).batches == [3]


def test_a_waiting_report_that_comes_again_is_one_report(settings: Settings) -> None:
    document = report("a", emitted_at=at(6))
    write(settings.report_bus_dir / "a.ndjson", ndjson([document]))
    run(settings)
    write(settings.report_bus_dir / "b.ndjson", ndjson([document, document]))
    write(settings.report_bus_dir / "c.ndjson", ndjson([document | {"emitted_at": at(0)}]))
    run(settings, later(2))
    run(settings, later(7))
    assert rows(settings, "SELECT report_id, emitted_at FROM reports") == [("a", NOW.replace(tzinfo=None))]
    assert rows(settings, COUNTS) == [
        ("a.ndjson", 0, 0, 1, 0),
        ("b.ndjson", 0, 2, 0, 0),
        ("c.ndjson", 1, 0, 0, 0),
    ]
    assert rows(settings, BALANCE) == []


def test_the_first_waiting_report_makes_a_tick_due(settings: Settings) -> None:
    write(
        settings.report_bus_dir / "a.ndjson",
        ndjson([report("a", emitted_at=at(9)), report("b", emitted_at=at(8))]),
    )
    present = Settings(data_dir=settings.data_dir, fixed_now=NOW)
    run(present)
    with open_warehouse(present) as connection:
        assert next_wake(connection, present) == later(8) - SKEW


def test_the_check_names_the_emitter_whose_clock_runs_ahead(settings: Settings) -> None:
    write(settings.report_bus_dir / "a.ndjson", ndjson([report("a", emitted_at=at(9)), report("b")]))
    result = run(settings)
    with open_warehouse(settings) as connection:
        checks = {check.check_name: check for check in evaluate(DuckDBEngine(connection), result)}
    assert checks["every_line_accounted_for"].passed
    assert not checks["clocks_agree"].passed
    assert "strat.line_shop: 1 lines wait" in (checks["clocks_agree"].description or "")


def test_waiting_reports_have_every_column_of_reports_but_the_batch(settings: Settings) -> None:
    columns = (
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() WHERE table_name = '{}' ORDER BY 1"
    )
    waiting = [row[:2] for row in rows(settings, columns.format("early_reports"))]
    assert waiting == [row[:2] for row in rows(settings, columns.format("reports")) if row[0] != "batch"]


def test_what_an_older_warehouse_refused_for_its_time_is_read_once_more(settings: Settings) -> None:
    """Migration 5: such a line stood in quarantine for ever."""
    write(settings.report_bus_dir / "a.ndjson", ndjson([report("a"), report("b", emitted_at=at(6))]))
    run(settings)
    with open_warehouse(settings) as connection:
        connection.execute("DELETE FROM early_reports; UPDATE snapshots SET waiting = 0, quarantined = 1")
        connection.execute(
            "INSERT INTO quarantine VALUES ('a.ndjson', 2, 'in_the_future', 'too early', '{}', 1, NULL, NULL)"
        )
        connection.execute("UPDATE snapshots SET mtime_ns = -1, content_hash = ''")
    result = run(settings, later(60))
    assert (result.files, result.changed) == (1, 0)
    assert rows(settings, "SELECT report_id FROM reports ORDER BY 1") == [("a",), ("b",)]
    assert rows(settings, "SELECT * FROM quarantine") == []
    assert rows(settings, BALANCE) == []


def content(number: int) -> dict[str, Any]:
    """One of a few reports: three ids, four contents each, up to half an hour around the clock."""
    identity, version = divmod(number, 4)
    return report(
        f"id-{identity}", emitted_at=at(10 * version + identity), metrics={"edge_bps": float(version // 2)}
    )


FILES = st.lists(st.lists(st.integers(0, 11), max_size=6), min_size=1, max_size=4)
PAUSES = st.lists(st.integers(0, 25), min_size=4, max_size=4)


@pytest.mark.parametrize("count", [6, pytest.param(60, marks=pytest.mark.faults)])
def test_whenever_a_tick_ran_the_reports_are_those_of_one_tick_at_the_end(count: int) -> None:
    examples(max_examples=count)(given(FILES, PAUSES)(assert_same_as_one_tick_at_the_end))()


def assert_same_as_one_tick_at_the_end(files: list[list[int]], pauses: list[int]) -> None:
    def stored(ticks: list[float]) -> tuple[list[Any], list[Any]]:
        with tempfile.TemporaryDirectory() as folder:
            present = Settings(data_dir=Path(folder))
            put_warehouse(present)
            present.report_bus_dir.mkdir()
            for number, minutes in enumerate(ticks):
                for name in range(number, len(files)) if len(ticks) == 1 else [number]:
                    if name < len(files):
                        path = present.report_bus_dir / f"{name}.ndjson"
                        write(path, ndjson(content(item) for item in files[name]))
                run(present, later(minutes))
                assert rows(present, BALANCE) == []
            kept = rows(present, "SELECT * EXCLUDE (snapshot_id, line, batch) FROM reports ORDER BY ALL")
            lost = rows(present, "SELECT report_id, content_hash FROM quarantine ORDER BY ALL")
            return kept, lost

    clock = [sum(pauses[: number + 1]) for number in range(len(files))]
    assert stored([*clock, 200.0]) == stored([200.0])
