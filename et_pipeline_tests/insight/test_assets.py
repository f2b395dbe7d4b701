"""The insight assets through Dagster, on the sample run's warehouse."""

from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest

from et_pipeline.defs.experiment import last_tick
from et_pipeline.defs.exports import parquet, parquet_files, parquet_hourly
from et_pipeline.defs.insight import analyst_database, review_pages
from et_pipeline.defs.partitions import EXPERIMENT
from et_pipeline.defs.resource import Warehouse
from et_pipeline.insight.publish import publish_analyst_database


@pytest.fixture(scope="module")
def data(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    for part in ("warehouse", "experiments"):
        copytree(sample_run / part, folder / part)
    return folder


def test_publishing_pages_and_plots(data: Path) -> None:
    warehouse = Warehouse(environment={"ET_DATA_DIR": str(data)})
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [analyst_database, review_pages, parquet_files, last_tick],
            instance=instance,
            resources={"warehouse": warehouse},
        )
        assert result.success
        checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
        assert len(checks) == 2 and checks["every_experiment_works"] and all(checks.values())
        noted = instance.fetch_materializations(EXPERIMENT, limit=10).records
        plots = {
            record.partition_key: record.asset_materialization.metadata["interval_path"].value
            for record in noted
            if "interval_path" in record.asset_materialization.metadata
        }
    assert set(plots) == {
        "line-shop-v4", "basket-rebalance-fast", "quote-refresh-2s", "late-news-filter", "passive-exits-v2",
        "live-inventory-skew",
    }  # fmt: skip
    assert all(
        str(plot).startswith("![interval path of ") and len(str(plot)) < 80_000 for plot in plots.values()
    )
    assert (data / "published" / "pages" / "index.html").exists()
    assert (data / "published" / "parquet" / "intervals.parquet").exists()


def test_the_export_has_a_job_and_a_schedule_of_its_own(data: Path, tmp_path: Path) -> None:
    definitions = dg.Definitions(
        assets=[analyst_database, parquet_files],
        jobs=[parquet],
        schedules=[parquet_hourly],
        resources={"warehouse": Warehouse()},
    )
    dg.Definitions.validate_loadable(definitions)
    nothing = Warehouse(environment={"ET_DATA_DIR": str(tmp_path)})
    with dg.build_schedule_context(resources={"warehouse": nothing}) as context:
        assert isinstance(parquet_hourly(context), dg.SkipReason)
    something = Warehouse(environment={"ET_DATA_DIR": str(data)})
    publish_analyst_database(something.settings)
    with dg.build_schedule_context(resources={"warehouse": something}) as context:
        assert isinstance(parquet_hourly(context), dg.RunRequest)
