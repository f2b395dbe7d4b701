"""The progress of an ingest while it runs, and its result."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from et_pipeline.ingest.ledger import Ledger


class Progress(NamedTuple):
    """How far an ingest is.

    Attributes:
        files: Files done.
        of_files: Files to do.
        lines: Lines read.
        bytes: Bytes of text read (after decompression).
        quarantined: Lines put into quarantine.
        seconds: Seconds since the beginning.
    """

    files: int
    of_files: int
    lines: int
    bytes: int
    quarantined: int
    seconds: float

    @property
    def mb_per_second(self) -> float:
        """Megabytes of text a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"{self.files} of {self.of_files} files, {self.lines:,} lines, {self.mb_per_second:.1f} MB/s, "
            f"{self.quarantined:,} quarantined"
        )


@dataclass
class IngestResult:
    """What an ingest did.

    Attributes:
        files: Snapshots read.
        changed: How many of these have another content than when they were read before.
        lines, reports, duplicates, skipped, quarantined: Lines, and what became of them; `skipped` by kind.
        waiting: Reports that wait, since their time is ahead of the clock.
        due: Reports that had waited and were stored now; they are in no other count.
        displaced: Stored reports that were moved to quarantine because of a conflict.
        reasons: Lines put into quarantine, per reason.
        unreadable: Files that cannot be read now, with the reason.
        bytes: Bytes of text read (after decompression).
        seconds: Time taken.
        batches: Numbers of the transactions.
    """

    files: int = 0
    changed: int = 0
    lines: int = 0
    reports: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    waiting: int = 0
    due: int = 0
    displaced: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    batches: list[int] = field(default_factory=list)

    @property
    def mb_per_second(self) -> float:
        """Megabytes of text a second."""
        return self.bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    def add(self, ledger: Ledger, files: int, changed: int, batch: int) -> None:
        """Adds what one transaction did."""
        for tally in ledger.tallies.values():
            self.lines += tally.lines
            self.reports += tally.reports
            self.duplicates += tally.duplicates
            self.quarantined += tally.quarantined
            self.waiting += tally.waiting
            self.skipped.update(tally.skipped)
        self.files += files
        self.changed += changed
        self.displaced += ledger.displaced
        self.due += ledger.due
        self.reasons.update(ledger.reasons)
        self.bytes += ledger.bytes
        self.batches.append(batch)
