"""Assets of the ingest stage: snapshots of the report bus → `snapshots`, `reports`, `quarantine`."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.defs.ingest_checks import CHECKS
from et_pipeline.defs.partitions import SHARED
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import materialized, spec
from et_pipeline.settings import Settings
from et_pipeline.warehouse.engine import Engine

if TYPE_CHECKING:
    from et_pipeline.ingest.results import IngestResult, Progress

GROUP = "ingest"
LOG_EVERY_S = 5.0

SNAPSHOTS = """Every reading of a snapshot file, one row each, and where its lines went:
`lines = reports + duplicates + skipped + quarantined + waiting`. A file that changed is read again and flagged;
its bad lines count where they were read last. A report whose time lies ahead of the clock waits in `early_reports`.

    SELECT path, lines, reports, duplicates, skipped, quarantined, waiting FROM snapshots ORDER BY ingested_at;
"""

REPORTS = """Sound OperationsReports, one row a report id. Of several contents under one id the one with the
earliest `emitted_at` stays, whatever the order in which they came.

    SELECT strategy_id, mode, count(*), avg(edge_bps) FROM reports GROUP BY ALL;
"""

QUARANTINE = """Lines that are no sound report: file, line number, one machine-readable reason, a sentence, the
line itself (shortened).

    SELECT reason, count(*), any_value(sentence) FROM quarantine GROUP BY reason ORDER BY 2 DESC;
"""


def read_snapshots(
    engine: Engine, settings: Settings, now: datetime, progress: "Callable[[Progress], None] | None" = None
) -> "IngestResult":
    """Reads every new or changed snapshot to where the engine has its rows; outside any transaction."""
    if engine.local:
        from et_pipeline.ingest.ingest import ingest as ingest_here

        return ingest_here(engine.connection, settings, now, progress)
    from et_pipeline.spark.engine import SparkEngine
    from et_pipeline.spark.ingest import ingest_on_cluster

    assert isinstance(engine, SparkEngine), "an engine that is not local is the cluster's"
    return ingest_on_cluster(engine, settings, now, progress)


@dg.multi_asset(
    name="ingest",
    specs=[
        spec("snapshots", group=GROUP, description=SNAPSHOTS, kinds=("duckdb", "file")),
        spec("reports", group=GROUP, deps=["snapshots"], description=REPORTS, kinds=("duckdb", "polars")),
        spec("quarantine", group=GROUP, deps=["snapshots"], description=QUARANTINE),
    ],
    check_specs=CHECKS,
    pool=POOL,
)
def ingest(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Reads every new or changed snapshot strictly: parse, validate, deduplicate, quarantine, commit."""
    from et_pipeline.defs.ingest_checks import evaluate
    from et_pipeline.ingest.results import Progress

    settings = warehouse.settings
    logged = 0.0

    def log(progress: Progress) -> None:
        nonlocal logged
        if progress.seconds - logged >= LOG_EVERY_S:
            logged = progress.seconds
            context.log.info(f"ingest: {progress}")

    with warehouse.open() as connection, warehouse.engine(connection) as engine:
        result = read_snapshots(engine, settings, settings.now(), log)
        results = [
            materialized(
                connection,
                "snapshots",
                files=result.files,
                changed=result.changed,
                lines=result.lines,
                megabytes_per_second=round(result.mb_per_second, 3),
            ),
            materialized(
                connection,
                "reports",
                engine=engine,
                version=SHARED,
                new=result.reports,
                duplicates=result.duplicates,
                waiting=result.waiting,
                no_longer_waiting=result.due,
                displaced=result.displaced,
                skipped=dict(sorted(result.skipped.items())),
            ),
            materialized(
                connection,
                "quarantine",
                new=result.quarantined,
                reasons=dict(result.reasons.most_common()),
            ),
        ]
        checks = evaluate(engine, result)
    context.log.info(
        f"ingest: {result.files} files, {result.lines:,} lines in {result.seconds:.1f} s "
        f"({result.mb_per_second:.1f} MB/s), {result.reports:,} new reports, {result.duplicates:,} duplicates, "
        f"{result.skipped.total():,} skipped, {result.quarantined:,} quarantined, {result.waiting:,} waiting for "
        f"their time, {result.due:,} whose time has come"
    )
    for path, reason in sorted(result.unreadable.items()):
        context.log.warning(f"cannot be read: {path or settings.report_bus_dir}: {reason}")
    yield from results
    yield from checks
