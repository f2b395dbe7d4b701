"""Snapshots into the warehouse: new, changed, removed, unreadable ones, and ones that are still being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from et_pipeline.ingest import ingest as module
from et_pipeline.ingest.ingest import pending_snapshots
from et_pipeline.ingest.listing import list_snapshots
from et_pipeline.ingest.reader import Batch, read_snapshot
from et_pipeline.ingest.results import Progress
from et_pipeline.ingest.validate import validate_snapshot
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.ingest.lab import NOW, line, ndjson, report, rows, run, write, write_parquet

COUNTS = "SELECT path, revision, changed, lines, reports, duplicates, skipped, quarantined FROM snapshots ORDER BY ALL"

BALANCE = """
SELECT path, revision FROM snapshots s
WHERE lines <> reports + duplicates + skipped + quarantined + waiting
   OR skipped <> (SELECT coalesce(sum(lines), 0) FROM skipped k WHERE k.snapshot_id = s.snapshot_id)
   OR quarantined <> (SELECT count(*) FROM quarantine q WHERE q.snapshot_id = s.snapshot_id)
"""


def bus(settings: Settings, name: str, *documents: Any) -> Path:
    return write(settings.report_bus_dir / name, ndjson(documents))


def waiting(settings: Settings) -> list[str]:
    with open_warehouse(settings) as connection:
        return [file.path for file in pending_snapshots(connection, settings)]


def test_every_format_and_folder_is_read_once(settings: Settings) -> None:
    bus(settings, "a.ndjson", report("a"), {"kind": "Fill"}, report("x", side="HOLD"))
    bus(settings, "deep/er/b.ndjson.gz", report("b"))
    bus(settings, "c.ndjson.zst", report("c"))
    write_parquet(settings.report_bus_dir / "d.parquet", [report("d"), report("a")])
    for name in ("e.ndjson.tmp", "f.json", "README.md", ".g.ndjson"):
        bus(settings, name, report(name))
    (settings.report_bus_dir / "folder.ndjson").mkdir()
    os.mkfifo(settings.report_bus_dir / "pipe.ndjson")
    assert waiting(settings) == ["a.ndjson", "c.ndjson.zst", "d.parquet", "deep/er/b.ndjson.gz"]
    result = run(settings)
    assert (result.files, result.lines, result.reports, result.duplicates, result.quarantined) == (
        4,
        7,
        4,
        1,
        1,
    )
    assert rows(settings, COUNTS) == [
        ("a.ndjson", 1, False, 3, 1, 0, 1, 1),
        ("c.ndjson.zst", 1, False, 1, 1, 0, 0, 0),
        ("d.parquet", 1, False, 2, 1, 1, 0, 0),
        ("deep/er/b.ndjson.gz", 1, False, 1, 1, 0, 0, 0),
    ]
    assert rows(settings, "SELECT kind, lines FROM skipped") == [("Fill", 1)]
    assert waiting(settings) == []
    again = run(settings)
    assert (again.files, again.batches, again.lines) == (0, [], 0)


def test_a_file_appears_under_its_final_name(settings: Settings) -> None:
    path = bus(settings, "a.ndjson.tmp", report("a"))
    assert run(settings).files == 0
    path.rename(path.with_suffix(""))
    assert run(settings).reports == 1


def test_a_changed_snapshot_is_read_again_and_flagged(settings: Settings) -> None:
    path = bus(settings, "a.ndjson", report("a"))
    run(settings)
    bus(settings, "a.ndjson", report("a"), report("b"))
    os.utime(path, ns=(1, 1))
    result = run(settings)
    assert (result.files, result.changed, result.reports, result.duplicates) == (1, 1, 1, 1)
    assert rows(settings, COUNTS) == [
        ("a.ndjson", 1, False, 1, 1, 0, 0, 0),
        ("a.ndjson", 2, True, 2, 1, 1, 0, 0),
    ]
    assert rows(settings, "SELECT report_id, batch FROM reports ORDER BY 1") == [("a", 1), ("b", 2)]


def test_a_touched_snapshot_is_not_read_again(settings: Settings) -> None:
    path = bus(settings, "a.ndjson", report("a"))
    run(settings)
    os.utime(path, ns=(5, 5))
    assert waiting(settings) == ["a.ndjson"]
    assert run(settings).files == 0
    assert waiting(settings) == []
    assert rows(settings, COUNTS) == [("a.ndjson", 1, False, 1, 1, 0, 0, 0)]


def test_an_unreadable_file_does_not_stop_the_others_and_leaves_nothing(settings: Settings) -> None:
    broken = bus(settings, "b.ndjson.gz", *(report(f"b{number}") for number in range(50)))
    good = broken.read_bytes()
    broken.write_bytes(good[:-20])
    bus(settings, "a.ndjson", report("a"))
    bus(settings, "c.ndjson", report("c"))
    result = run(settings)
    assert (result.files, result.reports, result.unreadable) == (2, 2, {"b.ndjson.gz": "broken_stream"})
    assert rows(settings, "SELECT report_id FROM reports ORDER BY 1") == [("a",), ("c",)]
    assert waiting(settings) == []  # it is broken until it changes
    assert run(settings).unreadable == {"b.ndjson.gz": "broken_stream"}
    broken.write_bytes(good)
    result = run(settings)
    assert (result.reports, result.unreadable, result.changed) == (50, {}, 0)
    assert rows(settings, "SELECT * FROM unreadable") == []


def test_a_file_that_vanishes_between_listing_and_reading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus(settings, "a.ndjson", report("a"))
    gone = bus(settings, "m.ndjson", report("m"))
    bus(settings, "z.ndjson", report("z"))
    listing = list_snapshots(settings.report_bus_dir)
    gone.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(module, "list_snapshots", lambda _: listing)
        result = run(settings)
    assert (result.reports, result.unreadable) == (2, {"m.ndjson": "vanished"})
    assert run(settings).unreadable == {}
    assert rows(settings, "SELECT * FROM unreadable") == []


def test_a_missing_bus_is_said_and_nothing_is_lost(settings: Settings) -> None:
    bus(settings, "a.ndjson", report("a"))
    run(settings)
    settings.report_bus_dir.rename(settings.data_dir / "away")
    assert run(settings).unreadable == {"": "not_readable"}
    (settings.data_dir / "away").rename(settings.report_bus_dir)
    result = run(settings)
    assert (result.unreadable, result.files) == ({}, 0)


def test_the_future_is_judged_by_the_clock_and_the_skew_allowed(settings: Settings) -> None:
    for name, seconds in (("in", 300), ("out", 301)):
        moment = (NOW + timedelta(seconds=seconds)).isoformat()
        bus(settings, f"{name}.ndjson", report(name, emitted_at=moment))
    result = run(settings)
    assert (result.reports, result.waiting, dict(result.reasons)) == (1, 1, {})


@pytest.mark.parametrize("suffix", ["ndjson", "ndjson.zst"])
def test_a_file_that_grows_counts_its_bad_and_foreign_lines_once(settings: Settings, suffix: str) -> None:
    path = settings.report_bus_dir / f"hour.{suffix}"
    start = b"{broken\n" + line({"kind": "Heartbeat"}) + b"\n"
    content = [ndjson([report(f"r{number}")]) for number in range(4)]
    bus(settings, "other.ndjson", report("x", side="?"), {"kind": "Heartbeat"})
    for number in range(4):
        cut = line(report("last"))[:-20] if number < 3 else b""
        write(path, start + b"".join(content[: number + 1]) + cut)
        run(settings)
        assert rows(settings, BALANCE) == []
    quarantined = "SELECT path, line, reason, snapshot_id FROM quarantine ORDER BY ALL"
    assert rows(settings, quarantined) == [
        (path.name, 1, "malformed_json", 5),
        ("other.ndjson", 1, "unknown_side", 2),
    ]
    assert rows(settings, "SELECT snapshot_id, kind, lines FROM skipped ORDER BY ALL") == [
        (2, "Heartbeat", 1),
        (5, "Heartbeat", 1),
    ]
    assert rows(settings, "SELECT sum(reports), sum(skipped), sum(quarantined) FROM snapshots") == [(4, 2, 2)]


def test_a_conflict_in_a_file_that_grows_stays_one_conflict(settings: Settings) -> None:
    documents = [report("a"), report("a", market_id="other"), report("b")]
    for number in (2, 3):
        bus(settings, "hour.ndjson", *documents[:number])
        run(settings)
        assert rows(settings, BALANCE) == []
        assert rows(settings, "SELECT reason, count(*) FROM quarantine GROUP BY 1") == [("conflict", 1)]


def test_groups_of_files_are_transactions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_FILES", 2)
    for number in range(5):
        bus(settings, f"{number}.ndjson", report(f"r{number}"))
    assert run(settings).batches == [1, 2, 3]
    assert rows(settings, "SELECT batch, count(*) FROM reports GROUP BY 1 ORDER BY 1") == [
        (1, 2),
        (2, 2),
        (3, 1),
    ]
    assert rows(settings, "SELECT snapshot_id FROM snapshots ORDER BY path") == [(n,) for n in range(1, 6)]


def test_a_crash_leaves_whole_transactions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_FILES", 1)
    for number in range(3):
        bus(settings, f"{number}.ndjson", report(f"r{number}"))

    def crash(progress: Progress) -> None:
        if progress.lines == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, progress=crash)
    assert rows(settings, "SELECT report_id FROM reports") == [("r0",)]
    assert run(settings).reports == 2


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst", "a.parquet"])
def test_a_file_that_changes_while_it_is_read(settings: Settings, name: str) -> None:
    path = settings.report_bus_dir / name
    put = write_parquet if name == "a.parquet" else lambda to, documents: write(to, ndjson(documents))

    def change(progress: Progress) -> None:
        if progress.lines == 1 and not progress.files:
            put(path, [report("a"), report("b")])

    put(path, [report("a")])
    result = run(settings, progress=change)
    assert result.unreadable == {name: "changed_while_reading"}
    assert rows(settings, COUNTS) == []
    assert (run(settings).reports, run(settings).files) == (2, 0)


def test_validation_of_a_file_that_changes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bus(settings, "a.ndjson", report("a"))

    def read_and_change(file: Path) -> Iterator[Batch]:
        yield from read_snapshot(file)
        bus(settings, "a.ndjson", report("a"), report("b"))

    monkeypatch.setattr("et_pipeline.ingest.validate.read_snapshot", read_and_change)
    assert [row.reason for row in validate_snapshot(path, settings).quarantine] == ["changed_while_reading"]


def test_progress_tells_files_lines_and_rate(settings: Settings) -> None:
    for number in range(3):
        bus(settings, f"{number}.ndjson", report(f"r{number}"), report(f"x{number}", side="?"))
    seen: list[Progress] = []
    run(settings, progress=seen.append)
    told = [(0, 2, 1), (1, 2, 1), (1, 4, 2), (2, 4, 2), (2, 6, 3), (3, 6, 3)]
    assert [(p.files, p.lines, p.quarantined) for p in seen] == told
    assert all(p.of_files == 3 and p.bytes > 0 and p.mb_per_second > 0 for p in seen)
    assert "of 3 files" in str(seen[0])


def test_validate_changes_nothing(new_settings: Settings) -> None:
    settings = new_settings
    path = bus(
        settings, "a.ndjson", report("a", emitted_at="2020-01-01T00:00:00Z"), {"kind": "Fill"}, {"x": 1}
    )
    found = validate_snapshot(path, settings)
    assert (found.lines, found.reports, found.skipped, found.quarantined) == (3, 1, {"Fill": 1}, 1)
    assert [(bad.line, bad.reason, bad.raw) for bad in found.quarantine] == [
        (3, "bad_kind", line({"x": 1}).decode())
    ]
    assert not settings.warehouse_path.exists()
    path.rename(path.with_suffix(".ndjson.gz"))
    broken = validate_snapshot(path.with_suffix(".ndjson.gz"), settings)
    assert [(bad.line, bad.reason) for bad in broken.quarantine] == [(0, "broken_stream")]


def test_a_file_that_looks_like_a_snapshot_and_is_not_read_is_told(settings: Settings) -> None:
    names = [
        "a.jsonl",
        "b.json",
        "c.NDJSON",
        "sub/d.ndjson.GZ",
        "e.ndjson.bz2",
        "g.parquet.snappy",
        "h.pq",
        "i.ndjson.1",
    ]
    for name in [*names, "ok.ndjson", "README.md", "j.ndjson.tmp", ".k.json", "notes.txt"]:
        bus(settings, name, report(name))
    result = run(settings)
    assert (result.reports, result.unreadable) == (1, dict.fromkeys(names, "not_readable"))
    sentences = rows(settings, "SELECT DISTINCT split_part(sentence, ': ', 2) FROM unreadable")
    assert sentences == [("it is not read",)]
