"""The truth about generated snapshots: the numbers that a pipeline has to find in them."""

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
    """The truth about one experiment.

    Attributes:
        uplift: Exact population mean uplift per metric, positive is good for the variant.
        edge_uplift_no_trade_zero: The uplift of `edge_bps` if an opportunity on which the variant passed counts as
            zero.
        opportunities: Opportunities in the window.
        control_reports, variant_reports: Distinct valid reports, without superseded ones.
        superseded: Valid reports that a later report of the same arm and opportunity replaces.
        passes: Distinct valid reports of the variant that say that it passed.
        pairs: Opportunities that both arms trade; None in limited live, where it depends on the plan's tolerance.
        no_trade: Opportunities that the variant got and on which it passed.
        markets: Number of different markets in its reports.
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
    """The truth about one snapshot file: `lines = reports + duplicates + skipped + sum(broken.values())`.

    Attributes:
        name: File name.
        lines: Lines (NDJSON) or rows (Parquet).
        reports: Valid reports whose id is in no earlier file and no earlier line.
        duplicates: Valid reports that were in an earlier file or line.
        late: Reports and duplicates whose time belongs to an earlier file.
        skipped: Messages of another kind.
        broken: Lines per kind of defect; `conflict` counts the second line with an id.
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
    """The whole truth about one run of the generator.

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
        """Lines per quarantine reason that a strict reader has to give, over all files."""
        reasons = PARQUET_EXPECTED_REASON if self.format == "parquet" else EXPECTED_REASON
        total: Counter[str] = Counter()
        for kind, count in self.broken.items():
            total[reasons[kind]] += count
        return dict(sorted(total.items()))

    def to_json(self) -> str:
        """The truth as one JSON document; the same truth always gives the same text."""
        names = ("lines", "reports", "duplicates", "skipped", "broken", "quarantine")
        totals = {name: getattr(self, name) for name in names}
        return json.dumps({**asdict(self), "totals": totals}, indent=1, sort_keys=True) + "\n"

    def write(self, path: Path) -> None:
        """Writes `to_json` to a file, atomically."""
        write_atomically(path, self.to_json().encode())
