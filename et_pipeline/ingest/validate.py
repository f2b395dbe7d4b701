"""Checks one snapshot with the strict reader, without ingesting it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from et_pipeline.common.times import naive_utc
from et_pipeline.ingest.decode import BadLine
from et_pipeline.ingest.listing import SUFFIXES
from et_pipeline.ingest.reader import read_snapshot
from et_pipeline.ingest.sources import UnreadableError, refuse_changed, stamp_of
from et_pipeline.settings import Settings

SNAPSHOT_SUFFIXES = SUFFIXES
MAX_ROWS = 1000
"""Largest number of bad lines that are listed; all are counted."""


class Validation(NamedTuple):
    """The result of checking a snapshot.

    Attributes:
        lines: Lines read.
        reports: Lines that are valid reports; whether an id is used twice is found only by an ingest.
        skipped: Lines of other kinds, by kind.
        quarantined: Lines that would go to quarantine.
        waiting: Valid reports, also counted in `reports`, that would wait since their time is ahead of the clock.
        quarantine: The first `MAX_ROWS` lines that would go to quarantine; line 0 means the file as a whole.
    """

    lines: int
    reports: int
    skipped: dict[str, int]
    quarantined: int
    waiting: int
    quarantine: list[BadLine]


def validate_snapshot(path: Path, settings: Settings) -> Validation:
    """Reads a snapshot as an ingest would, and changes nothing.

    Args:
        path: The file.
        settings: They say how far `emitted_at` may be in the future.
    """
    latest = naive_utc(settings.now()) + timedelta(microseconds=settings.max_clock_skew_us)
    lines = reports = quarantined = waiting = 0
    skipped: Counter[str] = Counter()
    rows: list[BadLine] = []
    try:
        stamp = stamp_of(path)
        for batch in read_snapshot(path):
            lines += batch.lines
            reports += len(batch.reports)
            waiting += int((batch.reports["emitted_at"] > latest).sum())
            skipped.update(batch.skipped)
            quarantined += len(batch.bad)
            rows += [BadLine(*row) for row in batch.bad.head(MAX_ROWS - len(rows)).iter_rows()]
        refuse_changed(path, stamp)
    except UnreadableError as error:
        rows.append(BadLine(0, error.reason, error.sentence, ""))
        quarantined += 1
    return Validation(lines, reports, dict(skipped), quarantined, waiting, rows)
