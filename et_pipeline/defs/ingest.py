"""The assets of the ingest stage: the tables `snapshots`, `reports` and `quarantine`, made from the report bus."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.common.sql import load
from et_pipeline.defs.partitions import SHARED
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import check_result, materialized, spec
from et_pipeline.settings import Settings
from et_pipeline.warehouse.engine import Engine

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.ingest.results import IngestResult, Progress

GROUP = "ingest"
LOG_EVERY_S = 1.0
"""Seconds between two log lines about the progress of an ingest; in a long one, a tenth of the time since its start."""

SNAPSHOTS = """One row per reading of a snapshot file, with what became of its lines:
`lines = reports + duplicates + skipped + quarantined + waiting`. A file that changed is read again and flagged. Its
refused lines count where they were read last. A report whose time lies in the future waits in `early_reports`.

    SELECT path, lines, reports, duplicates, skipped, quarantined, waiting FROM snapshots ORDER BY ingested_at;
"""

REPORTS = """Valid OperationsReports, one row per report id. If one id has several contents, the content with the
earliest `emitted_at` stays, in whatever order they came.

    SELECT strategy_id, mode, count(*), avg(edge_bps) FROM reports GROUP BY ALL;
"""

QUARANTINE = """Lines that are not valid reports, with file, line number, one machine-readable reason, a sentence and
the (shortened) line itself.

    SELECT reason, count(*), any_value(sentence) FROM quarantine GROUP BY reason ORDER BY 2 DESC;
"""


def read_snapshots(
    engine: Engine, settings: Settings, now: datetime, progress: "Callable[[Progress], None] | None" = None
) -> "IngestResult":
    """Reads every new or changed snapshot into the place where the engine has its rows; outside any transaction."""
    if engine.local:
        from et_pipeline.ingest.ingest import ingest as ingest_here

        return ingest_here(engine.connection, settings, now, progress)
    from et_pipeline.spark.engine import SparkEngine
    from et_pipeline.spark.ingest import ingest_on_cluster

    assert isinstance(engine, SparkEngine), "an engine that is not local is the cluster's"
    return ingest_on_cluster(engine, settings, now, progress)


CHECKS = [
    dg.AssetCheckSpec(
        "every_line_accounted_for",
        asset="snapshots",
        blocking=True,
        description="lines = reports + duplicates + skipped + quarantined + waiting, per file.",
    ),
    dg.AssetCheckSpec(
        "snapshots_readable", asset="snapshots", description="Every snapshot in the bus could be read."
    ),
    dg.AssetCheckSpec(
        "snapshots_unchanged", asset="snapshots", description="No snapshot changed after it was read."
    ),
    dg.AssetCheckSpec(
        "clocks_agree",
        asset="snapshots",
        description="No report waits because its time lies in the future.",
    ),
    dg.AssetCheckSpec(
        "report_ids_unique",
        asset="reports",
        blocking=True,
        description="No report id occurs twice, among the new reports or together with the earlier ones.",
    ),
    dg.AssetCheckSpec(
        "reports_keep_the_schema",
        asset="reports",
        blocking=True,
        description="The new reports, as they are stored, follow every rule of the contract.",
    ),
    dg.AssetCheckSpec(
        "little_in_quarantine",
        asset="quarantine",
        description="At most 1 % of the lines read went to quarantine.",
    ),
]


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

    settings = warehouse.settings
    next_at = 0.0

    def log(progress: "Progress") -> None:
        nonlocal next_at
        if progress.seconds >= next_at:
            next_at = progress.seconds + max(LOG_EVERY_S, progress.seconds / 10)
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
        f"{result.skipped.total():,} skipped, {result.quarantined:,} quarantined, {result.waiting:,} with a "
        f"time in the future, {result.due:,} that waited until now"
    )
    for path, reason in sorted(result.unreadable.items()):
        context.log.warning(f"cannot be read: {path or settings.report_bus_dir}: {reason}")
    yield from results
    yield from checks


MAX_QUARANTINED = 0.01
NEWEST = "snapshots.batch >= coalesce($first, (SELECT max(batch) FROM snapshots))"
"""The condition that a file was read by this ingest, or, if this ingest read none, by the newest one that did."""
SAMPLE_ROWS = 100_000
"""How many of the new reports are checked against the schema a second time, in the form in which they are stored."""


def evaluate(engine: Engine, result: "IngestResult") -> list[dg.AssetCheckResult]:
    """The result of every check in `CHECKS` after an ingest.

    Checks of files are about the newest ingest that read any. So a run without new files repeats their results, also if
    the run before it was killed after its ingest.
    """
    first = min(result.batches, default=None)
    return [
        _accounted_for(engine, first),
        _readable(result),
        _unchanged(engine.connection, first),
        _clocks_agree(engine.connection),
        _ids_unique(engine, first),
        _schema_kept(engine, first),
        _little_quarantine(engine.connection, first),
    ]


def _accounted_for(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    unbalanced = load("et_pipeline.ingest", "unbalanced")
    with engine.scope():
        engine.warehouse.create_temp("stored_counts", "SELECT 0 AS snapshot_id, 0::BIGINT AS n WHERE false")
        if first is not None:
            engine.insert("stored_counts", load("et_pipeline.ingest", "stored_counts", first=first))
        rows = engine.connection.execute(unbalanced, {"first": first}).fetchall()
    problems = [f"{path} (revision {revision}): {sentence}" for path, revision, sentence in rows]
    return check_result(
        "snapshots", "every_line_accounted_for", problems, "every line is in exactly one place"
    )


def _readable(result: "IngestResult") -> dg.AssetCheckResult:
    problems = [f"{path or 'report_bus'}: {reason}" for path, reason in sorted(result.unreadable.items())]
    return check_result(
        "snapshots", "snapshots_readable", problems, "every snapshot could be read", warn=True
    )


def _unchanged(connection: "duckdb.DuckDBPyConnection", first: int | None) -> dg.AssetCheckResult:
    query = f"SELECT path FROM snapshots WHERE changed AND {NEWEST} ORDER BY path"
    problems = [
        f"{path} changed after it was read, and was read again"
        for (path,) in connection.execute(query, {"first": first}).fetchall()
    ]
    return check_result("snapshots", "snapshots_unchanged", problems, "no snapshot changed", warn=True)


def _clocks_agree(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    problems = [
        f"{bot_id}: {lines:,} lines wait, the first until {first:%Y-%m-%d %H:%M:%S} UTC, the last until "
        f"{last:%Y-%m-%d %H:%M:%S} UTC; check the clock of the emitter"
        for bot_id, lines, first, last in connection.execute(load("et_pipeline.ingest", "waiting")).fetchall()
    ]
    return check_result("snapshots", "clocks_agree", problems, "no report waits for its time", warn=True)


def _ids_unique(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    rows = engine.rows(load("et_pipeline.ingest", "repeated_ids", first=first)) if first is not None else []
    problems = [f"{report_id} occurs {times} times" for report_id, times in rows]
    return check_result("reports", "report_ids_unique", problems, "every report id is unique")


def _schema_kept(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    if first is None:
        return check_result("reports", "reports_keep_the_schema", [], "no new reports")
    from et_pipeline.contracts.metrics import REPORT_METRICS
    from et_pipeline.contracts.report import OPTIONAL, STRINGS, faults, report_schema

    frame = engine.frame(load("et_pipeline.ingest", "new_reports", first=first, rows=SAMPLE_ROWS))
    found = faults(frame.select(*STRINGS, "emitted_at", *OPTIONAL, *REPORT_METRICS), report_schema())
    problems = [f"{frame.item(row, 'report_id')}: {fault.sentence}" for row, fault in found.items()]
    return check_result(
        "reports", "reports_keep_the_schema", problems, f"{len(frame):,} reports were checked"
    )


def _little_quarantine(connection: "duckdb.DuckDBPyConnection", first: int | None) -> dg.AssetCheckResult:
    ((lines, refused),) = connection.execute(
        f"SELECT coalesce(sum(lines), 0), coalesce(sum(quarantined), 0) FROM snapshots WHERE {NEWEST}",
        {"first": first},
    ).fetchall()
    reasons = connection.execute(
        f"SELECT reason, count(*) FROM quarantine JOIN snapshots USING (snapshot_id) WHERE {NEWEST} "
        "GROUP BY reason ORDER BY 2 DESC, 1",
        {"first": first},
    ).fetchall()
    named = ", ".join(f"{reason} {count:,}" for reason, count in reasons)
    share = f"{refused:,} of {lines:,} lines ({named or 'none'})"
    much = refused > MAX_QUARANTINED * lines
    return check_result("quarantine", "little_in_quarantine", [share] if much else [], share, warn=True)
