"""The Parquet export as an asset with a job and a schedule of its own.

To find out which days changed, a few columns of every row are read, which takes about 0.2 s for each million reports
with their pairs. This is too slow for each tick, but not for once an hour.
"""

from typing import Any

import dagster as dg

from et_pipeline.defs.resource import Warehouse
from et_pipeline.defs.specs import bullets, spec

DESCRIPTION = """`published/parquet/`: the analyst database as Parquet files, for other tools.

Each small table is one file. `reports`, `pairs`, `unmatched` and `cells` have one file per day. Only files whose
rows changed are written.

    polars.read_parquet("published/parquet/pairs/*.parquet")
"""


@dg.multi_asset(
    name="parquet_files",
    specs=[
        spec(
            "parquet_files",
            group="insight",
            deps=["analyst_database"],
            description=DESCRIPTION,
            kinds=("parquet", "duckdb"),
        )
    ],
)
def parquet_files(warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """Writes the files whose rows changed; reads the published copy only, so it holds no tick up."""
    from et_pipeline.insight.parquet import write_parquet

    export = write_parquet(warehouse.settings)
    return dg.MaterializeResult(
        asset_key="parquet_files",
        metadata={
            "path": dg.MetadataValue.path(str(export.folder)),
            "written": len(export.written),
            "kept": export.kept,
            "files": bullets(export.written[:200], "no file changed"),
        },
    )


parquet = dg.define_asset_job(
    "parquet",
    selection=dg.AssetSelection.assets("parquet_files"),
    description="Writes the parts of the analyst database that changed as Parquet files.",
)


@dg.schedule(
    job=parquet,
    cron_schedule="17 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Writes the parts of the analyst database that changed as Parquet files, once an hour.",
)
def parquet_hourly(
    context: dg.ScheduleEvaluationContext, warehouse: Warehouse
) -> dg.RunRequest | dg.SkipReason:
    """Once an hour, where something has been published."""
    if not warehouse.settings.analyst_path.exists():
        return dg.SkipReason("nothing has been published yet")
    return dg.RunRequest()
