"""The assets of the pairing stage: `pairs` and `unmatched`, made from reports, and `cells`, made from these."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.common.sql import among, load
from et_pipeline.contracts.metrics import REPORT_METRICS, metric_of
from et_pipeline.contracts.plan import MAX_UNMATCHED
from et_pipeline.defs.each_experiment import each_experiment
from et_pipeline.defs.resource import POOL, Warehouse
from et_pipeline.defs.specs import check_result, materialized, spec
from et_pipeline.pairing.arms import valued
from et_pipeline.pairing.columns import uplift_of_pair
from et_pipeline.pairing.rules import prepare_pairing
from et_pipeline.pairing.steps import view_stale

if TYPE_CHECKING:
    from et_pipeline.warehouse.engine import Engine

GROUP = "pairing"

PAIRS = """Matched pairs. Each row is a control report and a variant report of the same opportunity.

`<metric>_uplift` is variant minus control, turned so that positive is good for the variant. The pair's time is
the time of the control's report. An experiment with a split above 50 % has no pairs until a human has signed it off.

    SELECT pair_time, market_id, edge_bps_control, edge_bps_variant, edge_bps_uplift FROM pairs
    WHERE experiment_id = 'line-shop-v4' ORDER BY pair_time LIMIT 5;
"""
UNMATCHED = """One row per report of an experiment that found no partner, with the reason.

    SELECT experiment_id, arm, reason, count(*) FROM unmatched GROUP BY ALL ORDER BY ALL;
"""
CELLS = """Sufficient statistics of the uplift per experiment, metric, time block and market. They can be added
up, and all inference is computed from them.

    SELECT block, market_id, n, sum / n AS mean_uplift FROM cells
    WHERE experiment_id = 'line-shop-v4' AND metric = 'edge_bps' ORDER BY block, market_id;

Where all trades of both arms are compared (limited live), they contain each arm's totals: `numerator_variant /
denominator_variant - numerator_control / denominator_control`.
"""
LINEAGE = {
    f"{metric}_uplift": [("reports", metric), ("experiments", "plan")] for metric in REPORT_METRICS
} | {
    "pair_time": [("reports", "emitted_at")],
    "control_report_id": [("reports", "report_id")],
    "variant_report_id": [("reports", "report_id")],
}


@dg.multi_asset(
    name="pairing",
    specs=[
        spec(
            "pairs",
            group=GROUP,
            deps=["reports", "experiments", "sign_offs"],
            description=PAIRS,
            lineage=LINEAGE,
        ),
        spec(
            "unmatched",
            group=GROUP,
            deps=["reports", "experiments", "sign_offs"],
            description=UNMATCHED,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "one_pair_a_report",
            asset="pairs",
            description="No report is in two pairs of an experiment.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "every_report_placed",
            asset="unmatched",
            description="Every report of an arm is either in one pair, or in unmatched with one reason.",
            blocking=True,
        ),
        dg.AssetCheckSpec(
            "match_rate",
            asset="unmatched",
            description="At most a quarter of each arm's reports have no partner.",
        ),
    ],
    pool=POOL,
)
def pairing(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Pairs new reports, and pairs the opportunities again that they change."""
    from et_pipeline.pairing.pairs import PairsResult, build_pairs, sampled

    with warehouse.open() as connection, warehouse.engine(connection) as engine:
        paired: list[str] = []

        def pair(names: list[str]) -> PairsResult:
            experiments = sampled(connection, names)
            outcome = build_pairs(connection, experiments, engine=engine)
            paired.extend(experiments)
            return outcome

        outcomes = each_experiment(context, warehouse, connection, "pairing", pair)
        pairs, unmatched, removed = (
            sum(getattr(found, name) for found in outcomes) for name in ("pairs", "unmatched", "removed")
        )
        rebuilt = [name for found in outcomes for name in found.rebuilt]
        context.log.info(
            f"{pairs:,} pairs and {unmatched:,} unmatched reports written, "
            f"{removed:,} earlier pairs removed; paired from scratch: {', '.join(rebuilt) or 'none'}"
        )
        yield materialized(connection, "pairs", engine=engine, written=pairs, removed=removed)
        yield materialized(connection, "unmatched", engine=engine, written=unmatched)
        yield one_pair_a_report(engine)
        yield every_report_placed(engine, paired)
        yield match_rate(engine)


@dg.multi_asset(
    name="cells",
    specs=[
        spec(
            "cells",
            group=GROUP,
            deps=["pairs"],
            description=CELLS,
            lineage={
                "n": [("pairs", "control_report_id")],
                "sum": [("pairs", f"{metric}_uplift") for metric in REPORT_METRICS],
            },
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "cells_count_the_pairs",
            asset="cells",
            description="Every pair with a value is counted in exactly one cell. Where all trades are compared, so "
            "is every trade.",
            blocking=True,
        )
    ],
    pool=POOL,
)
def cells(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Computes the stale cells again from their pairs."""
    from et_pipeline.pairing.cells import CellsResult, build_cells

    with warehouse.open() as connection, warehouse.engine(connection) as engine:

        def count(names: list[str]) -> CellsResult:
            return build_cells(connection, names, engine=engine)

        outcomes = each_experiment(context, warehouse, connection, "cells", count)
        stale, blocks = (sum(getattr(found, name) for found in outcomes) for name in ("stale", "blocks"))
        context.log.info(f"{stale:,} stale cells in {blocks:,} blocks")
        yield materialized(connection, "cells", stale=stale, blocks=blocks)
        yield cells_count_the_pairs(engine)


def one_pair_a_report(engine: "Engine") -> dg.AssetCheckResult:
    """Fails if a report is in two pairs of one experiment."""
    with engine.scope():
        view_stale(engine)
        found = engine.rows(load("et_pipeline.pairing", "reused_reports"))
    problems = [f"{name}: {report_id}" for name, report_id in found]
    return check_result("pairs", "one_pair_a_report", problems, "every report is in at most one pair")


def every_report_placed(engine: "Engine", experiments: Sequence[str]) -> dg.AssetCheckResult:
    """Fails if a report of an arm is neither in a pair nor unmatched with a reason, or if it is in more than one place.

    Args:
        engine: Where the rows are.
        experiments: Experiments whose pairs are up to date with the reports.
    """
    with engine.scope():
        prepare_pairing(engine, experiments)
        problems = [
            f"{name}: the {arm} has {reports:,} reports, and {placed:,} are in pairs and unmatched"
            for name, arm, reports, placed in engine.rows(load("et_pipeline.pairing", "balance"))
        ]
    return check_result(
        "unmatched", "every_report_placed", problems, "every report of an arm is in one place"
    )


def match_rate(engine: "Engine") -> dg.AssetCheckResult:
    """Warns if many reports of an arm found no partner: without them, a variant that trades selectively looks too
    good."""
    engine.share("experiments")
    found = engine.rows(load("et_pipeline.pairing", "match_rates", most=MAX_UNMATCHED))
    problems = [f"{name}: {share:.0%} of the {arm}'s reports have no partner" for name, arm, share in found]
    fine = f"at most {MAX_UNMATCHED:.0%} of each arm's reports have no partner"
    return check_result("unmatched", "match_rate", problems, fine, warn=True)


def cells_count_the_pairs(engine: "Engine") -> dg.AssetCheckResult:
    """Fails if the cells of a metric do not count the same number of pairs (or trades) as there are."""
    planned = engine.connection.execute("SELECT DISTINCT metric FROM experiment_metrics ORDER BY metric")
    metrics = [metric_of(name) for (name,) in planned.fetchall()]
    if not metrics:
        return check_result("cells", "cells_count_the_pairs", [], "no metric is planned yet")
    columns = ", ".join(f'0::BIGINT AS "{metric.name}"' for metric in metrics)
    pairs = ", ".join(f"count({uplift_of_pair(metric)}) AS {metric.column}" for metric in metrics)
    trades = ", ".join(
        f"count(CASE WHEN {valued(metric)} THEN 1 END) AS {metric.column}" for metric in metrics
    )
    differences = load(
        "et_pipeline.pairing",
        "counting_differences",
        metrics=", ".join(f'"{metric.name}"' for metric in metrics),
    )
    with engine.scope():
        live = engine.warehouse.rows("SELECT experiment_id FROM experiments WHERE matching = 'arms'")
        engine.warehouse.create_temp(
            "counted_values", f"SELECT '' AS experiment_id, '' AS counted, {columns} WHERE false"
        )
        engine.insert(
            "counted_values",
            f"SELECT experiment_id, 'pairs' AS counted, {pairs} FROM pairs AS p GROUP BY experiment_id",
        )
        if live:
            inside = among(name for (name,) in live)
            engine.insert(
                "counted_values", load("et_pipeline.pairing", "placed_trades", counts=trades, inside=inside)
            )
        found = engine.connection.execute(differences).fetchall()
    problems = [
        f"{name} {metric}: there are {n} {counted}, and the cells count {cells}"
        for name, metric, n, counted, cells in found
    ]
    return check_result("cells", "cells_count_the_pairs", problems, "the cells count every pair once")
