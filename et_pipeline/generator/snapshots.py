"""Writes scenarios into snapshot files, divided by time, with late, repeated and broken lines and other messages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from et_pipeline.generator.broken import BROKEN_KINDS, PARQUET_BROKEN_KINDS
from et_pipeline.generator.files import FORMATS, Format, Insertion, write_ndjson, write_parquet
from et_pipeline.generator.reports import CONTROL, VARIANT, build_reports
from et_pipeline.generator.scenario import Scenario, edge_uplift_with_no_trade_as_zero, true_uplift
from et_pipeline.generator.truth import ExperimentTruth, FileTruth, Truth

OTHER_KINDS = ("HeartbeatReport", "PositionReport", "RiskReport")
MAX_LATE_FILES = 3


class _Arrivals(NamedTuple):
    """Reports in order of arrival, with the columns `file`, `home` (the file to which their time belongs),
    `duplicate`."""

    frame: pl.DataFrame
    bounds: list[int]


def write_snapshots(
    scenarios: Sequence[Scenario],
    directory: Path,
    *,
    seed: int,
    files: int = 1,
    format: Format = "ndjson",
    broken: int | Mapping[str, int] = 0,
    skipped: int = 0,
    only: Container[int] | None = None,
    truth_path: Path | None = None,
) -> Truth:
    """Writes the reports of some scenarios as snapshot files.

    Reports are divided by time into files with equal numbers of reports. Files are named by number, so that their names
    sort by arrival. Each is written as `*.tmp` and then renamed. The same arguments always give the same bytes.

    Args:
        scenarios: Experiments with different ids.
        directory: The folder of the files; it is created.
        seed: Seed of the run.
        files: Number of files.
        format: One of `FORMATS`.
        broken: Broken lines of each kind over all files (a number), or a number per kind. In Parquet only
            the kinds of `PARQUET_BROKEN_KINDS` exist; a plain number means those.
        skipped: Messages of other kinds over all files.
        only: Numbers of the files (from 0) to write now. Writing `range(0, 8)` and later `range(8, 12)`
            gives the same files as one call, so that a demonstration can run several ticks.
        truth_path: File into which the truth is written as JSON; without it, the truth is only returned.

    Returns:
        The truth of all files, whether they are written now or not.

    Raises:
        ValueError: On a negative number, a repeated experiment id, an unknown format or kind, fewer than one
            file, more `truncated_last` lines than files, or a scenario whose values leave the bounds of the
            catalogue.
    """
    counts = _checked(scenarios, files, format, broken)
    if skipped < 0:
        raise ValueError(f"skipped is {skipped}; allowed: 0 or more")
    rng = np.random.default_rng([seed, files])
    reports = _all_reports(scenarios, seed)
    arrivals = _schedule(scenarios, reports, files, rng)
    insertions = _insertions(arrivals, counts, skipped, rng)
    directory.mkdir(parents=True, exist_ok=True)
    file_truths = []
    for number in range(files):
        rows = arrivals.frame[arrivals.bounds[number] : arrivals.bounds[number + 1]]
        name = f"reports-{number:04d}.{format}"
        written = only is None or number in only
        if written:
            write = write_parquet if format == "parquet" else write_ndjson
            write(directory / name, rows, insertions[number], scenarios, seed)
        file_truths.append(_file_truth(name, rows, insertions[number], written))
    truth = Truth(seed, format, dict(_experiment_truths(scenarios, reports)), tuple(file_truths))
    if truth_path is not None:
        truth.write(truth_path)
    return truth


def _checked(
    scenarios: Sequence[Scenario], files: int, format: str, broken: int | Mapping[str, int]
) -> dict[str, int]:
    """Checks the arguments and returns the number of broken lines of each kind."""
    ids = Counter(scenario.experiment_id for scenario in scenarios)
    if not ids or max(ids.values()) > 1:
        raise ValueError(f"experiment ids are {sorted(ids.elements())}; allowed: at least one, each once")
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; allowed: {', '.join(FORMATS)}")
    if files < 1:
        raise ValueError(f"files is {files}; allowed: at least 1")
    possible = PARQUET_BROKEN_KINDS if format == "parquet" else BROKEN_KINDS
    counts = dict.fromkeys(possible, broken) if isinstance(broken, int) else dict(broken)
    for kind, count in counts.items():
        if kind not in possible:
            raise ValueError(f"kind of broken line is {kind!r}; allowed in {format}: {', '.join(possible)}")
        if count < 0:
            raise ValueError(f"broken lines of kind {kind} are {count}; allowed: 0 or more")
    if isinstance(broken, int) and "truncated_last" in counts:
        counts["truncated_last"] = min(broken, files)
    if counts.get("truncated_last", 0) > files:
        raise ValueError(
            f"truncated_last is {counts['truncated_last']}; allowed: at most one a file ({files})"
        )
    return counts


def _all_reports(scenarios: Sequence[Scenario], seed: int) -> pl.DataFrame:
    parts = [
        build_reports(scenario, seed=seed).with_columns(scenario=pl.lit(number, dtype=pl.UInt16))
        for number, scenario in enumerate(scenarios)
    ]
    return pl.concat(parts).sort("emitted_us", maintain_order=True)


def _schedule(
    scenarios: Sequence[Scenario], reports: pl.DataFrame, files: int, rng: np.random.Generator
) -> _Arrivals:
    """Assigns each report to a file, and lets some arrive a second time."""
    n = len(reports)
    home = np.arange(n) * files // max(n, 1)
    of = reports["scenario"].to_numpy()
    late_share = np.array([scenario.late_share for scenario in scenarios])[of]
    duplicate_share = np.array([scenario.duplicate_share for scenario in scenarios])[of]
    late = (rng.random(n) < late_share) * rng.integers(1, MAX_LATE_FILES + 1, n)
    file = np.minimum(home + late, files - 1)
    again = np.flatnonzero(rng.random(n) < duplicate_share)
    file_again = np.minimum(file[again] + rng.integers(0, MAX_LATE_FILES, len(again)), files - 1)
    repeated = np.zeros(n, dtype=bool)
    repeated[again] = True
    first = reports.with_columns(
        file=pl.Series(file), home=pl.Series(home), duplicate=pl.lit(False), repeated=pl.Series(repeated)
    )
    second = first[again].with_columns(file=pl.Series(file_again), duplicate=pl.lit(True))
    frame = pl.concat([first, second]).sort("file", "duplicate", "emitted_us", maintain_order=True)
    bounds = np.searchsorted(frame["file"].to_numpy(), np.arange(files + 1)).tolist()
    return _Arrivals(frame, bounds)


def _insertions(
    arrivals: _Arrivals, counts: Mapping[str, int], skipped: int, rng: np.random.Generator
) -> dict[int, list[Insertion]]:
    """Places broken lines and other messages after the report from which they are made: a trade that has no
    duplicate."""
    sound = np.flatnonzero(
        arrivals.frame.select(~(pl.col("repeated") | pl.col("passed"))).to_series().to_numpy()
    )
    file_of = arrivals.frame["file"].to_numpy()
    found: dict[int, list[Insertion]] = defaultdict(list)
    wanted = [(kind, number) for kind in counts for number in range(counts[kind])]
    last_files = iter(rng.permutation(len(arrivals.bounds) - 1))
    if not sound.size and (wanted or skipped):
        raise ValueError(
            "broken and skipped lines are made from reports, and there is none that arrives once"
        )
    templates = rng.choice(sound, size=len(wanted) + skipped, replace=len(sound) < len(wanted) + skipped)
    for (kind, number), template in zip(wanted, templates, strict=False):
        row = int(template)
        file = int(file_of[row])
        after = row - arrivals.bounds[file]
        if kind == "truncated_last":
            file = int(next(last_files))
            after = arrivals.bounds[file + 1] - arrivals.bounds[file]
        found[file].append(Insertion(after, kind, f"broken-{kind}-{number:04d}", True, arrivals.frame[row]))
    for number, template in enumerate(templates[len(wanted) :]):
        row = int(template)
        file = int(file_of[row])
        kind = OTHER_KINDS[number % len(OTHER_KINDS)]
        after = row - arrivals.bounds[file]
        found[file].append(Insertion(after, kind, f"other-{number:06d}", False, arrivals.frame[row]))
    for of_file in found.values():
        of_file.sort(key=lambda insertion: insertion.after)
    return found


def _file_truth(name: str, rows: pl.DataFrame, insertions: Sequence[Insertion], written: bool) -> FileTruth:
    duplicates = int(rows["duplicate"].sum())
    broken = Counter(insertion.kind for insertion in insertions if insertion.broken)
    return FileTruth(
        name=name,
        lines=len(rows) + len(insertions),
        reports=len(rows) - duplicates,
        duplicates=duplicates,
        late=int((rows["file"] > rows["home"]).sum()),
        skipped=len(insertions) - broken.total(),
        broken=dict(sorted(broken.items())),
        written=written,
    )


def _experiment_truths(
    scenarios: Sequence[Scenario], reports: pl.DataFrame
) -> Iterator[tuple[str, ExperimentTruth]]:
    for number, scenario in enumerate(scenarios):
        own = reports.filter(pl.col("scenario") == number)
        final = own.filter(~pl.col("preliminary"))
        control = int((final["arm"] == CONTROL).sum())
        variant = int((final["arm"] == VARIANT).sum())
        passes = int(final["passed"].sum())
        shadow = scenario.mode == "shadow"
        yield (
            scenario.experiment_id,
            ExperimentTruth(
                uplift=true_uplift(scenario),
                edge_uplift_no_trade_zero=(
                    edge_uplift_with_no_trade_as_zero(scenario) if "edge_bps" in scenario.metrics else None
                ),
                opportunities=scenario.opportunities,
                control_reports=control,
                variant_reports=variant,
                superseded=len(own) - len(final),
                passes=passes,
                # In shadow every opportunity has a control report, so each replayed trade is a pair.
                pairs=variant - passes if shadow else None,
                no_trade=scenario.opportunities - (variant - passes) - (0 if shadow else control),
                markets=final["market"].n_unique(),
            ),
        )
