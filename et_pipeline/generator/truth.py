"""What is true of generated snapshots: the numbers a pipeline that reads them has to arrive at."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from et_pipeline.common.files import write_atomically
from et_pipeline.generator.broken import EXPECTED_REASON, PARQUET_EXPECTED_REASON


@dataclass(frozen=True)
class ExperimentTruth:
    """One experiment.

    Attributes:
        uplift: Exact population mean uplift per metric, positive is good for the variant.
        edge_uplift_no_trade_zero: The same of `edge_bps` where a passed opportunity counts as zero edge.
        opportunities: Opportunities in the window.
        control_reports, variant_reports: Distinct valid reports, superseded ones not counted.
        superseded: Valid reports that a later report of the same arm and opportunity replaces.
        passes: Distinct valid reports of the variant that say it passed.
        pairs: Opportunities both arms trade; None in limited live, where it depends on the plan's tolerance.
        no_trade: Opportunities the variant got and passed on.
        markets: Distinct markets of its reports.
    """

    uplift: Mapping[str, float]
    edge_uplift_no_trade_zero: float | None
    opportunities: int
    control_reports: int
    variant_reports: int
    superseded: int
    passes: int
    pairs: int | None
    no_trade: int
    markets: int


@dataclass(frozen=True)
class FileTruth:
    """One snapshot file: `lines = reports + duplicates + skipped + sum(broken.values())`.

    Attributes:
        name: File name.
        lines: Lines (NDJSON) or rows (Parquet).
        reports: Valid reports whose id no earlier file and no earlier line has.
        duplicates: Valid reports seen before, in file order.
        late: Reports and duplicates that belong to the time of an earlier file.
        skipped: Messages of another kind.
        broken: Lines per kind of defect; `conflict` holds the second line of an id.
        written: Whether this call wrote the file.
    """

    name: str
    lines: int
    reports: int
    duplicates: int
    late: int
    skipped: int
    broken: Mapping[str, int]
    written: bool


@dataclass(frozen=True)
class Truth:
    """All that is true of one run of the generator.

    Attributes:
        seed: Seed of the run.
        format: Format of the snapshots.
        experiments: Truth per experiment id.
        files: Truth per snapshot, in order of arrival.
    """

    seed: int
    format: str
    experiments: Mapping[str, ExperimentTruth]
    files: tuple[FileTruth, ...]

    @property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(file.lines for file in self.files)

    @property
    def reports(self) -> int:
        """Distinct valid reports."""
        return sum(file.reports for file in self.files)

    @property
    def duplicates(self) -> int:
        """Repeated valid reports."""
        return sum(file.duplicates for file in self.files)

    @property
    def skipped(self) -> int:
        """Messages of another kind."""
        return sum(file.skipped for file in self.files)

    @property
    def broken(self) -> dict[str, int]:
        """Broken lines per kind of defect, over all files."""
        total: Counter[str] = Counter()
        for file in self.files:
            total.update(file.broken)
        return dict(sorted(total.items()))

    @property
    def quarantine(self) -> dict[str, int]:
        """Lines per quarantine reason that a strict reader gives them, over all files."""
        reasons = PARQUET_EXPECTED_REASON if self.format == "parquet" else EXPECTED_REASON
        total: Counter[str] = Counter()
        for kind, count in self.broken.items():
            total[reasons[kind]] += count
        return dict(sorted(total.items()))

    def to_json(self) -> str:
        """One JSON document, the same for the same truth."""
        names = ("lines", "reports", "duplicates", "skipped", "broken", "quarantine")
        totals = {name: getattr(self, name) for name in names}
        return json.dumps({**asdict(self), "totals": totals}, indent=1, sort_keys=True) + "\n"

    def write(self, path: Path) -> None:
        """Write `to_json` to a file, atomically."""
        write_atomically(path, self.to_json().encode())
