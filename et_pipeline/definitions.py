"""The module that Dagster loads: it only puts the definitions of all stages together."""

import dagster as dg

from et_pipeline.common.files import keep_others_out
from et_pipeline.common.garbage import look_for_garbage_rarely
from et_pipeline.defs import (
    calibration,
    evidence,
    experiment,
    experiments,
    exports,
    governance,
    ingest,
    insight,
    pairing,
    publishing,
)
from et_pipeline.defs.operations.failures import tell_failures
from et_pipeline.defs.operations.retention import clean_up, clean_up_daily
from et_pipeline.defs.publishing import (
    collect,
    collect_regularly,
    deliver_events,
    delivery_report,
    house_metrics,
    pending_events,
    publish_pending,
    publish_when_decided,
)
from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.ticks import new_inputs, regular_ticks

keep_others_out()
look_for_garbage_rarely()

tick = dg.define_asset_job(
    "tick",
    selection=dg.AssetSelection.all()
    - dg.AssetSelection.assets("parquet_files", "experiment", "calibration"),
    description="Reads what is new and decides about every experiment, in one run.",
)


@dg.job(executor_def=dg.in_process_executor, tags={"dagster/max_runtime": 1800})
def publish() -> None:
    """Pending events → their destinations → metrics and deliveries for people → a report of what is left."""
    _, left_behind = deliver_events(pending_events())
    published = insight.publish_deliveries(house_metrics(left_behind))
    delivery_report(left_behind, published)


defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [
            ingest,
            experiments,
            pairing,
            evidence,
            calibration,
            governance,
            publishing,
            insight,
            experiment,
            exports,
        ]
    ),
    jobs=[tick, publish, collect, exports.parquet, calibration.calibrate, clean_up],
    sensors=[new_inputs, publish_when_decided, publish_pending, tell_failures],
    schedules=[
        regular_ticks,
        collect_regularly,
        exports.parquet_hourly,
        calibration.calibrate_weekly,
        clean_up_daily,
    ],
    resources={"warehouse": Warehouse()},
    executor=dg.in_process_executor,
)
