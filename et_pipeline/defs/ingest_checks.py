"""Checks of the ingest stage, evaluated where the numbers are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.common.sql import load
from et_pipeline.defs.specs import check_result
from et_pipeline.warehouse.engine import DuckDBEngine

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.ingest.results import IngestResult
    from et_pipeline.warehouse.engine import Engine

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
        description="No report waits because its time lies ahead of the clock.",
    ),
    dg.AssetCheckSpec(
        "report_ids_unique",
        asset="reports",
        blocking=True,
        description="No report id stands twice, among the new reports and against all that were there.",
    ),
    dg.AssetCheckSpec(
        "reports_keep_the_schema",
        asset="reports",
        blocking=True,
        description="The new reports, as they are stored, keep every rule of the contract.",
    ),
    dg.AssetCheckSpec(
        "little_in_quarantine",
        asset="quarantine",
        description="At most 1 % of the lines read went to quarantine.",
    ),
]

MAX_QUARANTINED = 0.01
SAMPLE_ROWS = 100_000
"""How many of the new reports are held against the schema a second time, as they are stored."""


def evaluate(engine: Engine, result: IngestResult) -> list[dg.AssetCheckResult]:
    """Every check of `CHECKS`, over what an ingest did."""
    first = min(result.batches, default=None)
    return [
        _accounted_for(engine, first),
        _readable(result),
        _unchanged(engine.connection, first),
        _clocks_agree(engine.connection),
        _ids_unique(engine, first),
        _schema_kept(engine, first),
        _little_quarantine(result),
    ]


def _accounted_for(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    warehouse = DuckDBEngine(engine.connection)
    warehouse.keep("stored_counts", "SELECT 0 AS snapshot_id, 0::BIGINT AS n WHERE false")
    if first is not None:
        engine.insert("stored_counts", _query("stored_counts", first=first))
    rows = engine.connection.execute(load("et_pipeline.ingest", "unbalanced"), {"first": first}).fetchall()
    warehouse.drop("stored_counts")
    problems = [f"{path} (revision {revision}): {sentence}" for path, revision, sentence in rows]
    return check_result(
        "snapshots", "every_line_accounted_for", problems, "every line is in exactly one place"
    )


def _readable(result: IngestResult) -> dg.AssetCheckResult:
    problems = [f"{path or 'report_bus'}: {reason}" for path, reason in sorted(result.unreadable.items())]
    return check_result(
        "snapshots", "snapshots_readable", problems, "every snapshot could be read", warn=True
    )


def _unchanged(connection: duckdb.DuckDBPyConnection, first: int | None) -> dg.AssetCheckResult:
    query = "SELECT path FROM snapshots WHERE changed AND batch >= $first ORDER BY path"
    problems = [
        f"{path} changed after it was read, and was read again"
        for (path,) in connection.execute(query, {"first": first}).fetchall()
    ]
    return check_result("snapshots", "snapshots_unchanged", problems, "no snapshot changed", warn=True)


def _clocks_agree(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    problems = [
        f"{bot_id}: {lines:,} lines wait, the first until {first:%Y-%m-%d %H:%M:%S} UTC, the last until "
        f"{last:%Y-%m-%d %H:%M:%S}; look at the emitter's clock"
        for bot_id, lines, first, last in connection.execute(load("et_pipeline.ingest", "waiting")).fetchall()
    ]
    return check_result("snapshots", "clocks_agree", problems, "no report waits for its time", warn=True)


def _ids_unique(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    rows = engine.rows(_query("repeated_ids", first=first)) if first is not None else []
    problems = [f"{report_id} stands {times} times" for report_id, times in rows]
    return check_result("reports", "report_ids_unique", problems, "every report id is unique")


def _schema_kept(engine: Engine, first: int | None) -> dg.AssetCheckResult:
    if first is None:
        return check_result("reports", "reports_keep_the_schema", [], "no new reports")
    from et_pipeline.contracts.metrics import REPORT_METRICS
    from et_pipeline.contracts.report import OPTIONAL, STRINGS, faults, report_schema

    frame = engine.frame(_query("new_reports", first=first, rows=SAMPLE_ROWS))
    found = faults(frame.select(*STRINGS, "emitted_at", *OPTIONAL, *REPORT_METRICS), report_schema())
    problems = [f"{frame.item(row, 'report_id')}: {fault.sentence}" for row, fault in found.items()]
    return check_result("reports", "reports_keep_the_schema", problems, f"{len(frame):,} reports looked at")


def _query(name: str, **fragments: int) -> str:
    return load("et_pipeline.ingest", name).format(**fragments)


def _little_quarantine(result: IngestResult) -> dg.AssetCheckResult:
    much = result.lines > 0 and result.quarantined > MAX_QUARANTINED * result.lines
    reasons = ", ".join(f"{reason} {lines:,}" for reason, lines in result.reasons.most_common())
    share = f"{result.quarantined:,} of {result.lines:,} lines ({reasons or 'none'})"
    return check_result("quarantine", "little_in_quarantine", [share] if much else [], share, warn=True)
