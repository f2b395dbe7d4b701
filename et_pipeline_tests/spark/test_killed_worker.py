"""Workers and their executors are killed during a job, and the job has the same result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from et_pipeline.settings import Settings, SparkSettings
from et_pipeline.spark.session import spark_engine
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.job.conftest import World, generate
from et_pipeline_tests.spark.lab import reports_to_cells, same_cells, same_pairs
from et_pipeline_tests.spark.standalone import Cluster, until


def writing(folder: Path, name: str, job: Future[None]) -> Callable[[], bool]:
    """Whether tasks write the rows of a temporary table at this moment."""

    def now() -> bool:
        assert not job.done() or job.exception(), f"the job was over before {name} was seen"
        assert not job.done(), job.exception()
        return any(folder.glob(f"scratch/*/{name}-*/_temporary/0/_temporary/*"))

    return now


@pytest.mark.spark
def test_the_answer_is_the_same(spark_cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(tmp_path / "local", instance)
        shutil.copytree(SAMPLE_PLANS, world.folder / "experiments")
        generate(world)
    shutil.copytree(world.folder, tmp_path / "remote")
    with ThreadPoolExecutor(1) as thread:
        settings = Settings(
            data_dir=tmp_path / "remote", spark=SparkSettings(spark_cluster.url, f"file://{folder}")
        )
        assert settings.spark is not None
        spark = settings.spark

        def remote() -> None:
            with open_warehouse(settings) as connection, spark_engine(spark, connection) as engine:
                reports_to_cells(settings, engine)

        job = thread.submit(remote)
        until(writing(folder, "readings", job), "no worker reads")
        spark_cluster.replace_worker()
        until(writing(folder, "gathered", job), "no worker pairs")
        spark_cluster.replace_worker()
        job.result()
        with open_warehouse(world.settings) as here, open_warehouse(settings) as there:
            reports_to_cells(world.settings, DuckDBEngine(here))
            with spark_engine(spark, there) as engine:
                same_pairs(here, engine)
            same_cells(here, there)
