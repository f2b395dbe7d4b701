"""Checks of the pairing stage, evaluated where the numbers are at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.resources.dagster import check_result
from et_pipeline.resources.sql import load

if TYPE_CHECKING:
    import duckdb

MAX_UNMATCHED = 0.25
"""Share of an arm's reports without a partner above which the sample is no longer what was planned."""


def one_pair_a_report(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where a report stands in two pairs of one experiment."""
    found = connection.execute(load(__package__ or "", "reused_reports")).fetchall()
    problems = [f"{name}: {report_id}" for name, report_id in found]
    return check_result("pairs", "one_pair_a_report", problems, "every report is in one pair at most")


def match_rate(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Warns where many reports of an arm found no partner: dropping them may flatter a picky variant."""
    found = connection.execute(load(__package__ or "", "match_rates"), {"most": MAX_UNMATCHED}).fetchall()
    problems = [f"{name}: {share:.0%} of the {arm}'s reports" for name, arm, share in found]
    fine = f"at most {MAX_UNMATCHED:.0%} unmatched everywhere"
    return check_result("unmatched", "match_rate", problems, fine, warn=True)


def cells_count_the_pairs(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """Fails where pairs and cells of a planned metric count differently (ratio metrics are counted apart)."""
    counts = ", ".join(f"count({metric}_uplift) AS {metric}" for metric in REPORT_METRICS)
    ratios = [name for name, metric in CATALOGUE.items() if metric.ratio_of]
    query = load(__package__ or "", "counting_differences").format(
        counts=counts, metrics=", ".join(REPORT_METRICS)
    )
    found = connection.execute(query, {"ratios": ratios}).fetchall()
    problems = [f"{name} {metric}: {pairs} pairs, {cells} in cells" for name, metric, pairs, cells in found]
    return check_result("cells", "cells_count_the_pairs", problems, "cells count every pair once")
