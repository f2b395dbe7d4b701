"""Checks of the pairing stage, evaluated where the numbers are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS
from et_pipeline.contracts.plan import MAX_UNMATCHED
from et_pipeline.defs.specs import check_result
from et_pipeline.pairing.rules import prepare_pairing
from et_pipeline.pairing.statements import query
from et_pipeline.pairing.steps import view_stale
from et_pipeline.warehouse.engine import DuckDBEngine

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine


def one_pair_a_report(engine: Engine) -> dg.AssetCheckResult:
    """Fails where a report stands in two pairs of one experiment."""
    view_stale(engine)
    found = engine.rows(query("reused_reports"))
    problems = [f"{name}: {report_id}" for name, report_id in found]
    return check_result("pairs", "one_pair_a_report", problems, "every report is in one pair at most")


def every_report_placed(engine: Engine, experiments: Sequence[str]) -> dg.AssetCheckResult:
    """Fails where a report of an arm is neither in a pair nor unmatched for a reason, or in more than one place.

    Args:
        engine: Where the rows are.
        experiments: Experiments whose pairs are up to date with the reports.
    """
    prepare_pairing(engine, experiments)
    problems = [
        f"{name}: {reports:,} reports of the {arm}, {placed:,} in pairs and unmatched"
        for name, arm, reports, placed in engine.rows(query("balance"))
    ]
    engine.drop("arms", "terms", "chosen")
    return check_result(
        "unmatched", "every_report_placed", problems, "every report of an arm is in one place"
    )


def match_rate(engine: Engine) -> dg.AssetCheckResult:
    """Warns where many reports of an arm found no partner: dropping them may flatter a picky variant."""
    engine.send("experiments")
    found = engine.rows(query("match_rates", most=MAX_UNMATCHED))
    problems = [f"{name}: {share:.0%} of the {arm}'s reports" for name, arm, share in found]
    fine = f"at most {MAX_UNMATCHED:.0%} unmatched everywhere"
    return check_result("unmatched", "match_rate", problems, fine, warn=True)


def cells_count_the_pairs(engine: Engine) -> dg.AssetCheckResult:
    """Fails where pairs and cells of a planned metric count differently (ratio metrics are counted apart)."""
    counts = ", ".join(f"count({metric}_uplift) AS {metric}" for metric in REPORT_METRICS)
    ratios = [name for name, metric in CATALOGUE.items() if metric.ratio_of]
    warehouse = DuckDBEngine(engine.connection)
    columns = ", ".join(f"0::BIGINT AS {metric}" for metric in REPORT_METRICS)
    warehouse.keep("counted_pairs", f"SELECT '' AS experiment_id, {columns} WHERE false")
    engine.insert("counted_pairs", f"SELECT experiment_id, {counts} FROM pairs GROUP BY experiment_id")
    differences = query("counting_differences", metrics=", ".join(REPORT_METRICS))
    found = engine.connection.execute(differences, {"ratios": ratios}).fetchall()
    warehouse.drop("counted_pairs")
    problems = [f"{name} {metric}: {pairs} pairs, {cells} in cells" for name, metric, pairs, cells in found]
    return check_result("cells", "cells_count_the_pairs", problems, "cells count every pair once")
