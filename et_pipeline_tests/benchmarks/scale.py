"""How each stage grows with the number of reports: time, memory, spill and disk. `make scale` for the full sizes.

Every stage is a process of its own, the only way to see what memory it takes. The lines of the table are printed
as they come.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType

import duckdb

from et_pipeline.defs.ingest import read_snapshots
from et_pipeline.evidence.compute import build_evidence
from et_pipeline.experiments.registration import register
from et_pipeline.governance.decide import admit, decide
from et_pipeline.insight.pages import write_pages
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.pairing.cells import build_cells
from et_pipeline.pairing.pairs import build_pairs
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine, Engine
from et_pipeline_tests.benchmarks.measure import Row, Sample, finish, run
from et_pipeline_tests.spark.conftest import serve_sail
from et_pipeline_tests.spark.standalone import standalone

SIZES = (1_000_000, 3_000_000, 10_000_000, 30_000_000)
SMALL = (200_000, 600_000)
DAYS = 30
NEW = 10_000
"""Reports of the tick that follows."""
NOW = datetime(2026, 11, 2, tzinfo=UTC)
EXPERIMENT = "scale"
PLAN = """\
experiment_id: scale
title: As many reports as there are
hypothesis: The variant is better by half a basis point.
owner: benchmarks
mode: shadow
control: {strategy_id: strat.scale, config_version: "1"}
variant: {strategy_id: strat.scale, config_version: "2"}
planned_pairs: 1000000
starts_at: 2026-10-01T00:00:00Z
ends_at: 2026-11-01T00:00:00Z
metrics:
  - {name: edge_bps, role: primary, equivalence_margin: 0.1}
  - {name: slippage_bps, role: guardrail, non_inferiority_margin: 1.0}
  - {name: fill_ratio, role: guardrail, non_inferiority_margin: 0.02, estimator: bounded}
  - {name: latency_ms, role: secondary}
"""
HEADER = """\
| reports | stage | seconds | processor | peak memory | spilled | warehouse |
|---:|---|---:|---:|---:|---:|---:|"""


def rows(folder: Path) -> Iterator[Row]:
    """Small enough for `make bench`: what all stages cost together grows no faster than the reports."""
    few, many = ([sample for _, sample in _measured(folder / str(size), size)] for size in SMALL)
    times = SMALL[1] // SMALL[0]
    yield Row(
        f"all stages, {SMALL[1]:,} reports",
        sum(sample.seconds for sample in many),
        f"{times} times all stages, {SMALL[0]:,} reports",
        times * sum(sample.seconds for sample in few),
        1.3,
        max(sample.peak_mib for sample in many),
    )


def main() -> None:
    """Measures the sizes asked for, or one stage where this is a measured process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of reports")
    parser.add_argument("--limits", nargs="*", default=[], help="other memory limits for pairing and cells")
    parser.add_argument("--engine", choices=["duckdb", "sail", "spark"], default="duckdb")
    parser.add_argument("--stage", choices=["write", "write-new", *STAGES, "tick"], help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.limits and given.engine != "duckdb":
        parser.error("--limits are DuckDB's")
    if given.stage:
        _stage(given.stage, given.home, given.sizes[0])
        return
    print(HEADER, flush=True)
    for size in given.sizes:
        with (
            tempfile.TemporaryDirectory(prefix="et-scale-") as folder,
            _server(given.engine, Path(folder)) as cluster,
        ):
            for stage, sample in _measured(Path(folder) / "home", size, given.limits, cluster):
                seen = sample.output
                print(
                    f"| {size:,} | {stage} | {sample.seconds:.1f} | {seen['processor']:.1f} "
                    f"| {sample.peak_mib:,.0f} MiB | {seen['spilled_mb']:,.0f} MB | {seen['disk_mb']:,.0f} MB |",
                    flush=True,
                )


def _measured(
    home: Path, size: int, limits: Sequence[str] = (), cluster: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, Sample]]:
    """Stage after stage, then a small tick; under other memory limits, pairing and cells in a copy first.

    Args:
        home: A folder to make.
        size: Number of reports.
        limits: The other memory limits.
        cluster: The settings that name a cluster which this process started; none for DuckDB.
    """
    (home / "experiments").mkdir(parents=True)
    (home / "experiments" / f"{EXPERIMENT}.yaml").write_text(PLAN, encoding="utf-8")
    _call("write", home, size)
    call = partial(_call_on_cluster, cluster) if cluster else _call
    for stage in STAGES:
        if stage == "pairing":
            for limit in limits:
                yield from _limited(home, size, limit)
        yield stage, call(stage, home, size)
    _call("write-new", home, NEW)
    yield f"a tick with {NEW:,} new reports", call("tick", home, NEW)


def _limited(home: Path, size: int, limit: str) -> Iterator[tuple[str, Sample]]:
    copy = home / f"limit-{limit}"
    shutil.copytree(home / "warehouse", copy / "warehouse")
    for stage in ("pairing", "cells"):
        yield f"{stage}, memory limit {limit}", _call(stage, copy, size, ET_MEMORY_LIMIT=limit)
    shutil.rmtree(copy)


def _call(stage: str, home: Path, size: int, **environment: str) -> Sample:
    name = __spec__.name if __spec__ else __name__
    arguments = [sys.executable, "-m", name, str(size), "--stage", stage, "--home", str(home)]
    return run(arguments, {**environment, "ET_DATA_DIR": str(home)})


def _call_on_cluster(cluster: Mapping[str, str], stage: str, home: Path, size: int) -> Sample:
    """A stage with what the cluster's processes took for it: their processor time, and the sum of their peaks."""
    seen, ended = _look({}), threading.Event()
    before = sum(seconds for seconds, _ in seen.values())

    def watch() -> None:
        while not ended.wait(0.2):
            _look(seen)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        sample = _call(stage, home, size, **cluster)
    finally:
        ended.set()
        watcher.join()
    taken = sum(seconds for seconds, _ in _look(seen).values()) - before
    peak_mib = sum(peak for _, peak in seen.values())
    output = sample.output | {"processor": sample.output["processor"] + taken}
    return sample._replace(peak_mib=sample.peak_mib + peak_mib, output=output)


def _look(seen: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Notes processor seconds and peak MiB of the cluster's processes, as last seen before they end (Linux).

    They are all that this process started, but for the measured stages.
    """
    parents, found = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            status, stage = (folder / "status").read_text(), b"--stage" in (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        parents[folder.name] = fields[1]
        if "VmHWM:" in status and not stage:
            seconds = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
            found[folder.name] = seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024
    for number, figures in found.items():
        above = number
        while above in parents and above != str(os.getpid()):
            above = parents[above]
        if above == str(os.getpid()) != number:
            seen[number] = figures
    return seen


def _stage(stage: str, home: Path, size: int) -> None:
    """One measured process."""
    settings = Settings.from_env()
    if stage.startswith("write"):
        _write(settings, size, range(DAYS) if stage == "write" else range(DAYS, DAYS + 1))
        finish(0.0)
        return
    wanted = list(STAGES.values()) if stage == "tick" else [STAGES[stage]]
    with _largest_spill(home) as spill:
        started, processor = time.perf_counter(), time.process_time()
        for step in wanted:
            step(settings)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    disk = settings.warehouse_path.stat().st_size / 1e6
    finish(seconds, processor=processor, spilled_mb=spill[0] / 1e6, disk_mb=disk)


def _write(settings: Settings, size: int, days: range) -> None:
    """Snapshots, a file a day; and the plan into the warehouse, so that it is sampled."""
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    settings.report_bus_dir.mkdir(exist_ok=True)
    count = size // 2 // len(days)
    with duckdb.connect(config={"memory_limit": "1GB"}) as connection:
        for day in days:
            query = text.format(day=day, first=day * 100_000_000, count=count)
            path = settings.report_bus_dir / f"day-{day:02}.ndjson"
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT json)")
    with open_warehouse(settings) as connection:
        register(connection, settings, NOW)
        admit(connection, settings, NOW, [EXPERIMENT])


@contextmanager
def _largest_spill(home: Path) -> Iterator[list[int]]:
    """Watches how much DuckDB puts aside on disk; the largest size seen is the list's one number."""
    largest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            try:
                sizes = [path.stat().st_size for path in home.glob("warehouse/*.tmp/*")]
            except FileNotFoundError:  # a file went away between listing and looking
                continue
            largest[0] = max(largest[0], sum(sizes))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _server(engine: str, folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of this machine's own, and the settings that name it; none for DuckDB."""
    if engine == "duckdb":
        yield {}
        return
    named = {"ET_ENGINE": "spark", "ET_SPARK_REPORTS": str(folder / "reports")}
    if engine == "spark":
        (folder / "cluster").mkdir()
        with standalone(folder / "cluster") as cluster:
            yield named | {"ET_SPARK_URL": cluster.url}
        return
    with serve_sail(folder / "sail.log") as url:
        yield named | {"ET_SPARK_URL": url}


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    """Where the settings want reports and pairs to be, with the warehouse open."""
    with open_warehouse(settings) as connection:
        if settings.spark is None:
            yield DuckDBEngine(connection)
            return
        from et_pipeline.spark.session import spark_engine

        with spark_engine(settings.spark, connection) as engine:
            yield engine


def _ingest(settings: Settings) -> None:
    with _engine(settings) as engine:
        if read_snapshots(engine, settings, NOW).quarantined:
            raise RuntimeError("a line went into quarantine; the written ones are all sound")


def _pairing(settings: Settings) -> None:
    with _engine(settings) as engine:
        if not build_pairs(engine.connection, [EXPERIMENT], engine=engine).pairs:
            raise RuntimeError("nothing was paired")


def _cells(settings: Settings) -> None:
    with _engine(settings) as engine:
        build_cells(engine.connection, [EXPERIMENT], engine=engine)


def _evidence(settings: Settings) -> None:
    with _engine(settings) as engine:
        build_evidence(engine.connection, [EXPERIMENT], engine=engine)


def _governance(settings: Settings) -> None:
    with open_warehouse(settings) as connection:
        decide(connection, settings, NOW, [EXPERIMENT])


def _publish(settings: Settings) -> None:
    publish_analyst_database(settings)
    write_pages(settings)


STAGES: dict[str, Callable[[Settings], None]] = {
    "ingest": _ingest,
    "pairing": _pairing,
    "cells": _cells,
    "evidence": _evidence,
    "governance": _governance,
    "publish": _publish,
}

if __name__ == "__main__":
    main()
