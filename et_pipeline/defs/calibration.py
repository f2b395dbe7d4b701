"""The asset `calibration`: once a week, whether the promised error holds on each experiment's own data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.defs.each_experiment import log_failures
from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import bullets, check_result, materialized, spec

if TYPE_CHECKING:
    import duckdb

CALIBRATION = """Tests with placebo paths from each experiment's own cells how often 0 is excluded although the arms
do not differ.

This runs once a week, for the experiments with new pairs. `et calibrate EXPERIMENT` does it for one experiment. A tick
does not do it.

    SELECT experiment_id, metric, scheme, false_share, mc_error, alpha FROM calibration WHERE NOT holds;
"""


@dg.multi_asset(
    name="calibration",
    specs=[
        spec(
            "calibration",
            group="inference",
            deps=["cells", "experiments"],
            description=CALIBRATION,
            kinds=("duckdb", "numpy", "scipy"),
            lineage={"false_share": [("cells", "sum"), ("cells", "n"), ("experiments", "alpha")]},
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "error_as_promised",
            asset="calibration",
            description="The share of placebo paths that exclude 0 is at most the plan's alpha plus three Monte "
            "Carlo errors.",
        )
    ],
)  # without a pool, since it computes for minutes and opens the warehouse only to read cells and write results
def calibration(
    context: dg.AssetExecutionContext, warehouse: Warehouse
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Calibrates the experiments with new pairs and publishes the results."""
    from et_pipeline.evidence.calibration import calibrate_experiments, with_news
    from et_pipeline.insight.pages import publish_pages
    from et_pipeline.insight.publish import publish_analyst_database

    settings = warehouse.settings
    with warehouse.open() as connection:
        names = with_news(connection)
    found, failures = calibrate_experiments(settings, names, say=context.log.debug)
    log_failures(context.log, warehouse, failures)
    publish_analyst_database(settings)
    log_failures(context.log, warehouse, publish_pages(settings, run_id=context.run.run_id).failures)
    with warehouse.open() as connection:
        yield materialized(connection, "calibration", calibrated=bullets(sorted(found)))
        yield error_as_promised(connection)


def error_as_promised(connection: "duckdb.DuckDBPyConnection") -> dg.AssetCheckResult:
    """Warns where more placebo paths exclude 0 than promised."""
    rows = connection.execute(
        "SELECT experiment_id, metric, scheme, false_share, mc_error, alpha FROM calibration WHERE NOT holds "
        "ORDER BY ALL"
    ).fetchall()
    problems = [
        f"{name} {metric}, flipped by {scheme}: {share:.1%} ± {error:.1%} of the placebo paths exclude 0, and "
        f"at most {alpha:.1%} is promised"
        for name, metric, scheme, share, error, alpha in rows
    ]
    return check_result(
        "calibration",
        "error_as_promised",
        problems,
        "every calibrated experiment keeps its error rate",
        warn=True,
    )


calibrate = dg.define_asset_job(
    "calibrate",
    selection=dg.AssetSelection.assets("calibration"),
    description="Tests with placebo paths whether each experiment keeps its promised error rate on its own data.",
)


@dg.schedule(
    job=calibrate,
    cron_schedule="30 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Tests the experiments with new pairs every Sunday.",
)
def calibrate_weekly(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """One run, unless there is no warehouse yet."""
    if not warehouse.settings.warehouse_path.exists():
        return dg.SkipReason("no warehouse exists yet")
    return dg.RunRequest()
