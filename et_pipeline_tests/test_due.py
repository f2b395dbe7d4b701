"""Whether a tick is due: every input is seen, files that are still being written are not, and the time can make one
due."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from et_pipeline.due import (
    LastTick,
    due,
    fingerprint,
    next_wake,
    read_last_tick,
    write_last_tick,
)
from et_pipeline.insight.published import PAGE_NOTES, missing_publications
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

NOW = datetime(2026, 10, 5, 13, 30, tzinfo=UTC)


def put(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def settings(new_settings: Settings) -> Settings:
    """No tick has been here."""
    return new_settings


CHANGES = {
    "a snapshot": lambda folder: put(folder / "report_bus" / "new.ndjson"),
    "a snapshot in a folder": lambda folder: put(folder / "report_bus" / "nats" / "deep" / "new.ndjson"),
    "a snapshot that grew": lambda folder: put(folder / "report_bus" / "old.ndjson", "longer"),
    "a snapshot of the same size": lambda folder: os.utime(folder / "report_bus" / "old.ndjson", ns=(1, 1)),
    "a snapshot that is gone": lambda folder: (folder / "report_bus" / "old.ndjson").unlink(),
    "a plan": lambda folder: put(folder / "experiments" / "new.yaml"),
    "a sign-off": lambda folder: put(folder / "sign_offs" / "a.json"),
    "who may sign": lambda folder: put(folder / "allowed_signers"),
    "an outage of the bus": lambda folder: (folder / "report_bus").rename(folder / "elsewhere"),
}


@pytest.fixture
def filled(settings: Settings) -> Settings:
    put(settings.report_bus_dir / "old.ndjson", "abc")
    put(settings.experiments_dir / "plan.yaml")
    return settings


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_an_input_makes_a_tick_due(filled: Settings, change: str):
    before = fingerprint(filled)
    assert fingerprint(filled) == before, "the same inputs, the same fingerprint"
    CHANGES[change](filled.data_dir)
    after = fingerprint(filled)
    assert after != before
    assert due(replace(filled, fixed_now=NOW), after, LastTick(before, NOW + timedelta(hours=1)))


@pytest.fixture
def published(settings: Settings) -> Settings:
    """Everything a tick publishes, by name."""
    for path in (settings.analyst_path, settings.pages_dir / "index.html", settings.pages_dir / "alpha.html"):
        put(path)
    put(settings.pages_dir / PAGE_NOTES, '{"alpha": ["figure", null]}')
    return settings


def test_a_file_still_being_written_is_not_seen(filled: Settings):
    before = fingerprint(filled)
    writing = filled.report_bus_dir / "half.ndjson.tmp"
    put(writing)
    assert fingerprint(filled) == before
    writing.rename(writing.with_suffix(""))
    assert fingerprint(filled) != before


def test_the_mode_is_an_input(filled: Settings):
    assert fingerprint(filled) != fingerprint(replace(filled, mode="limited_live"))


def test_a_name_that_is_no_text_is_an_input_like_any_other(filled: Settings):
    before = fingerprint(filled)
    Path(os.fsdecode(os.fsencode(filled.report_bus_dir) + b"/\xff.ndjson")).write_text("x", encoding="utf-8")
    assert fingerprint(filled) != before


def test_the_note_of_a_tick_comes_back_as_written(settings: Settings):
    settings.warehouse_path.parent.mkdir()
    tick = LastTick("abc", NOW)
    write_last_tick(settings, tick)
    assert read_last_tick(settings) == tick
    assert [path.name for path in settings.warehouse_path.parent.iterdir()] == ["last_tick.json"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '"x"', "null", "\x00"),
        '{"inputs": "a", "wake_at": "soon"}',
        '{"inputs": "a"}',
        '{"wake_at": "2026-11-01T00:00:00+00:00"}',
    ],
)
def test_a_note_that_cannot_be_read_makes_a_tick_due(settings: Settings, text: str):
    put(settings.last_tick_path, text)
    assert read_last_tick(settings) is None
    assert due(settings, "a", None)


@pytest.mark.parametrize(("minutes", "expected"), [(-1, False), (0, True), (1, True)])
def test_the_clock_makes_a_tick_due(published: Settings, minutes: int, expected: bool):
    at = replace(published, fixed_now=NOW + timedelta(minutes=minutes))
    assert due(at, "same", LastTick("same", NOW)) is expected


@pytest.mark.parametrize(
    "name", ["experiments.duckdb", "pages/.drawn.json", "pages/index.html", "pages/alpha.html"]
)
def test_a_published_file_that_is_gone_makes_a_tick_due(published: Settings, name: str):
    at = replace(published, fixed_now=NOW - timedelta(hours=1))
    assert not due(at, "same", LastTick("same", NOW))
    (published.published_dir / name).unlink()
    assert published.published_dir / name in missing_publications(published)
    assert due(at, "same", LastTick("same", NOW))


def test_the_next_wake_is_the_first_that_is_still_to_come(settings: Settings):
    midnight = datetime(2026, 10, 6, tzinfo=UTC)
    now = replace(settings, fixed_now=NOW)
    with open_warehouse(settings) as connection:
        assert next_wake(connection, now) == midnight
        connection.execute(
            "INSERT INTO snapshots SELECT 'a', 1, 1, 'h', '2026-10-05 13:00', 0, 0, 0, 0, 0, 1, 1, false, 1, 0"
        )
        assert next_wake(connection, now) == midnight, "without ET_STALL_AFTER silence is no outage"
        stalling = replace(now, stall_after_us=3_600_000_000)
        assert next_wake(connection, stalling) == datetime(2026, 10, 5, 14, tzinfo=UTC)
        late = replace(stalling, fixed_now=datetime(2026, 10, 5, 15, tzinfo=UTC))
        assert next_wake(connection, late) == midnight, "a stall that is told already wakes nobody"
