"""Strict ingest into the warehouse, compared with DuckDB's lenient reader of the same columns into a table."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from et_pipeline_tests.benchmarks.measure import Row, Sample, finish, median, pair, run

OPPORTUNITIES = 500_000
STORED = (100_000, 10_000_000)
NEW = 10_000
FORMATS = ("ndjson", "ndjson.gz", "ndjson.zst", "parquet")


def rows(folder: Path) -> Iterator[Row]:
    """Ingest of each format against `read_json` of the plain files, and a small ingest against a large history."""
    lenient = _command("lenient", folder / "ndjson")
    for name in FORMATS:
        home = folder / name
        lines = int(_call("generate", home, name, OPPORTUNITIES).output["lines"])
        ours, theirs = pair(_command("strict", home), lenient)
        yield Row(
            f"strict ingest of {lines:,} reports, {name}, processor time",
            _processor(ours),
            "DuckDB's lenient read_json of the plain files into a table",
            _processor(theirs),
            3.0 if name == "ndjson" else None,
            max(sample.peak_mib for sample in ours),
            f"{ours[0].output['mb']:.0f} MB of text or columns; {median(ours):.1f} s against {median(theirs):.1f} s",
        )
        if name != "ndjson":
            shutil.rmtree(home)
    few, many = (_after(folder / f"after-{stored}", stored) for stored in STORED)
    yield Row(
        f"ingest of {2 * NEW:,} new reports, {STORED[1]:,} stored",
        median([many]),
        f"{STORED[0]:,} stored",
        median([few]),
        1.3,
        many.peak_mib,
    )


def _processor(samples: list[Sample]) -> float:
    """The median of the processor time of reading and storing alone, without what starting Python takes."""
    return statistics.median(sample.output["processor"] for sample in samples)


def _after(home: Path, stored: int) -> Sample:
    _call("fill", home, "", stored)
    _call("generate", home, "ndjson", NEW)
    return _call("strict", home)


def _command(what: str, home: Path, *more: object) -> list[str]:
    name = __spec__.name if __spec__ else __name__
    return [sys.executable, "-m", name, what, str(home), *map(str, more)]


def _call(what: str, home: Path, *more: object) -> Sample:
    return run(_command(what, home, *more))


def _generate(home: Path, form: str, opportunities: int) -> None:
    from et_pipeline.generator import Scenario, write_snapshots
    from et_pipeline.generator.files import Format

    scenario = Scenario(experiment_id="line-shop-v4", opportunities=opportunities, markets=500)
    truth = write_snapshots([scenario], home / "report_bus", seed=1, files=4, format=cast("Format", form))
    finish(0.0, lines=sum(file.lines for file in truth.files))


def _fill(home: Path, count: int) -> None:
    """Stores reports without reading any: the columns of the warehouse, with other ids than the generated ones."""
    from et_pipeline.ingest.keys import add_keys
    from et_pipeline.ingest.store import append
    from et_pipeline.settings import Settings
    from et_pipeline.warehouse.connection import open_warehouse

    with open_warehouse(Settings(data_dir=home)) as connection:
        for first in range(0, count, 100_000):
            append(connection, "reports", add_keys(_stored(first, min(100_000, count - first))))
    finish(0.0)


def _stored(first: int, count: int):  # type: ignore[no-untyped-def]
    import polars as pl

    from et_pipeline.contracts.metrics import REPORT_METRICS
    from et_pipeline.contracts.report import TRADED

    number = pl.int_range(first, first + count, dtype=pl.Int64)
    texts = {
        "schema_version": "1.0",
        "bot_id": "strat.line_shop",
        "strategy_id": "strat.line_shop",
        "config_version": "1",
        "mode": "live",
        "outcome_id": "YES",
        "decision": TRADED,
        "side": "BUY",
    }
    return pl.select(
        pl.format("stored-{}", number).alias("report_id"),
        pl.format("stored-{}", number // 2).alias("correlation_id"),
        pl.format("mkt-{}", number % 500).alias("market_id"),
        *(pl.lit(text).alias(name) for name, text in texts.items()),
        (number * 1_000_000 + 1_700_000_000_000_000).cast(pl.Datetime("us")).alias("emitted_at"),
        *((number % 7).cast(pl.Float64).alias(name) for name in REPORT_METRICS),
        pl.lit(None, pl.String).alias("extra"),
        (number + 1).alias("line"),
        pl.lit(0, pl.Int32).alias("snapshot_id"),
        pl.lit(0, pl.Int64).alias("batch"),
    )


def _strict(home: Path) -> None:
    from et_pipeline.ingest.ingest import ingest
    from et_pipeline.settings import Settings
    from et_pipeline.warehouse.connection import open_warehouse

    settings = Settings(data_dir=home)
    if not (home / "filled").exists():
        shutil.rmtree(home / "warehouse", ignore_errors=True)
    with open_warehouse(settings) as connection:
        started, processor = time.perf_counter(), time.process_time()
        result = ingest(connection, settings, datetime.now(UTC))
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    if not result.reports:
        raise RuntimeError("nothing was ingested")
    finish(seconds, mb=result.bytes / 1e6, processor=processor)


def _lenient(home: Path) -> None:
    import duckdb

    from et_pipeline.contracts.metrics import REPORT_METRICS
    from et_pipeline.contracts.report import FIELDS

    types = dict.fromkeys(FIELDS, "VARCHAR") | {"emitted_at": "TIMESTAMP"}
    types["metrics"] = f"STRUCT({', '.join(f'{name} DOUBLE' for name in REPORT_METRICS)})"
    table = home / "lenient.duckdb"
    table.unlink(missing_ok=True)
    with duckdb.connect(str(table)) as connection:
        started, processor = time.perf_counter(), time.process_time()
        connection.execute(
            "CREATE TABLE reports AS SELECT * EXCLUDE (metrics), metrics.* FROM read_json("
            f"'{home}/report_bus/*.ndjson', columns = {types!r}, format = 'newline_delimited', ignore_errors = true)"
        )
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    finish(seconds, processor=processor)


if __name__ == "__main__":
    what, place = sys.argv[1], Path(sys.argv[2])
    if what == "generate":
        _generate(place, sys.argv[3], int(sys.argv[4]))
    elif what == "fill":
        _fill(place, int(sys.argv[4]))
        (place / "filled").touch()
    elif what == "strict":
        _strict(place)
    else:
        _lenient(place)
