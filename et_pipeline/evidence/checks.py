"""Checks of the inference stage, evaluated where the numbers are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.resources.sql import load

if TYPE_CHECKING:
    import duckdb


def sample_ratio_as_planned(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where limited live gets another split than planned."""
    alarms = connection.execute(
        "SELECT experiment_id, arg_max(observed_share, as_of), arg_max(planned_share, as_of) "
        "FROM sample_ratio GROUP BY experiment_id HAVING bool_or(alarm) ORDER BY 1"
    ).fetchall()
    return dg.AssetCheckResult(
        asset_key="sample_ratio",
        check_name="sample_ratio_as_planned",
        passed=not alarms,
        description="; ".join(
            f"{name}: {seen:.1%} seen, {planned:.1%} planned" for name, seen, planned in alarms
        )
        or "every split is as planned",
    )


def time_block_long_enough(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Warns where neighbouring blocks move together so much that no verdict can be drawn."""
    found = connection.execute(
        "SELECT experiment_id, metric, autocorrelation FROM diagnostics WHERE longer_block_needed ORDER BY ALL"
    ).fetchall()
    return dg.AssetCheckResult(
        asset_key="diagnostics",
        check_name="time_block_long_enough",
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(
            f"{name} {metric}: lag-1 autocorrelation {value:.2f}" for name, metric, value in found
        )
        or "blocks are long enough",
    )


def path_ends_with_interval(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where the newest interval, its path and its cells disagree."""
    wrong = connection.execute(load(__package__ or "", "disagreements")).fetchall()
    return dg.AssetCheckResult(
        asset_key="intervals",
        check_name="path_ends_with_interval",
        passed=not wrong,
        description="; ".join(f"{name} {metric}" for name, metric in wrong)
        or "interval, path and cells agree",
    )
