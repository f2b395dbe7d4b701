"""Checks of the governance stage, evaluated where the decisions are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.defs.specs import check_result
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.governance.decide import DecideResult
    from et_pipeline.settings import Settings

CHECKS = [
    dg.AssetCheckSpec(
        "announced_verdict_follows",
        asset="verdicts",
        description="Every verdict that was announced still follows from the reports.",
    ),
    dg.AssetCheckSpec(
        "not_stalled",
        asset="verdicts",
        description="Reports can be read; otherwise sampling and verdicts pause.",
    ),
    dg.AssetCheckSpec(
        "audit_chain_intact",
        asset="audit_log",
        description="No row of the audit log was edited, deleted, inserted or moved. Otherwise nothing is published.",
        blocking=True,  # a reviewer would decide from a page whose audit trail cannot be trusted
    ),
]


def evaluate(
    connection: duckdb.DuckDBPyConnection, settings: Settings, outcome: DecideResult
) -> list[dg.AssetCheckResult]:
    """Every check of `CHECKS`, over what was decided."""
    anchors = audit.event_anchors(connection)
    noted = audit.read_anchor(settings)
    fault = audit.verify(connection, [*anchors, noted] if noted else anchors)
    return [
        check_result(
            "verdicts", "announced_verdict_follows", outcome.contradicted, "every announced verdict follows"
        ),
        check_result(
            "verdicts",
            "not_stalled",
            [
                f"{outage.source} since {outage.since:%Y-%m-%d %H:%M} UTC: {outage.reason}"
                for outage in outcome.outages
            ],
            "reports can be read",
        ),
        check_result(
            "audit_log", "audit_chain_intact", [fault.sentence] if fault else [], "the chain is intact"
        ),
    ]
