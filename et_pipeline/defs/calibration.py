"""The asset `calibration`: once a week, whether the promised error holds on each experiment's own data."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.defs.each_experiment import log_failures
from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import bullets, check_result, materialized, spec

if TYPE_CHECKING:
    import duckdb

CALIBRATION = """Placebo paths from each experiment's own cells: how often is 0 excluded although nothing differs?

Once a week, for the experiments with new pairs; `et calibrate EXPERIMENT` does the same for one. A tick does not.

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
            description="No more placebo paths exclude 0 than the plan's alpha says, beyond three Monte Carlo errors.",
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
        f"{name} {metric}, flipped by {scheme}: {share:.1%} ± {error:.1%} of the placebo paths exclude 0, promised are "
        f"at most {alpha:.1%}"
        for name, metric, scheme, share, error, alpha in rows
    ]
    return check_result(
        "calibration", "error_as_promised", problems, "every calibrated experiment holds", warn=True
    )


calibrate = dg.define_asset_job(
    "calibrate",
    selection=dg.AssetSelection.assets("calibration"),
    description="Does the promised error hold on each experiment's own data? Placebo paths from its cells.",
)


@dg.schedule(
    job=calibrate,
    cron_schedule="30 3 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday, for the experiments with new pairs.",
)
def calibrate_weekly(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """One run, unless there is no warehouse yet."""
    if not warehouse.settings.warehouse_path.exists():
        return dg.SkipReason("there is no warehouse yet")
    return dg.RunRequest()
