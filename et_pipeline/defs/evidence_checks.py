"""Checks of the inference stage, evaluated where the numbers are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.common.sql import load
from et_pipeline.contracts.series import UPLIFT
from et_pipeline.defs.specs import check_result

if TYPE_CHECKING:
    import duckdb


def sample_ratio_as_planned(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where limited live gets another split than planned."""
    alarms = connection.execute(
        "SELECT experiment_id, arg_max(observed_share, as_of), arg_max(planned_share, as_of) "
        "FROM sample_ratio GROUP BY experiment_id HAVING bool_or(alarm) ORDER BY 1"
    ).fetchall()
    problems = [f"{name}: {seen:.1%} seen, {planned:.1%} planned" for name, seen, planned in alarms]
    return check_result("sample_ratio", "sample_ratio_as_planned", problems, "every split is as planned")


def time_block_long_enough(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Warns where neighbouring blocks move together so much that no verdict can be drawn."""
    found = connection.execute(
        "SELECT experiment_id, metric, autocorrelation FROM diagnostics WHERE longer_block_needed ORDER BY ALL"
    ).fetchall()
    problems = [f"{name} {metric}: lag-1 autocorrelation {value:.2f}" for name, metric, value in found]
    return check_result(
        "diagnostics", "time_block_long_enough", problems, "blocks are long enough", warn=True
    )


def values_present(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where more pairs than the plan allows have no value of a metric; nothing is concluded about it."""
    found = connection.execute(
        "SELECT experiment_id, metric, missing_share, missing_control_share, missing_variant_share, max_missing "
        "FROM diagnostics JOIN experiments USING (experiment_id) WHERE missing_share > max_missing ORDER BY ALL"
    ).fetchall()
    problems = [
        f"{name} {metric}: {share:.1%} of the pairs have no value (control {control:.1%}, variant {variant:.1%}; "
        f"at most {most:.1%} may)"
        for name, metric, share, control, variant, most in found
    ]
    return check_result("diagnostics", "values_present", problems, "every metric has its values")


def path_ends_with_interval(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where the newest interval, its path and its cells disagree."""
    wrong = connection.execute(load("et_pipeline.evidence", "disagreements")).fetchall()
    problems = [
        f"{name} {metric}" + ("" if comparison == UPLIFT.name else f" ({comparison})")
        for name, metric, comparison in wrong
    ]
    return check_result("intervals", "path_ends_with_interval", problems, "interval, path and cells agree")
