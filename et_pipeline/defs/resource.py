"""The one Dagster resource: the settings and the warehouse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline.warehouse.engine import DuckDBEngine, Engine, EngineError, refuse_another_engine
from et_pipeline.warehouse.run_lock import run_in_progress

if TYPE_CHECKING:
    import duckdb

POOL = "warehouse"
"""One run at a time uses the warehouse; the limit is set in `dagster.yaml`."""
INPUTS_TAG = ".dagster/et_inputs"
"""Run tag with the fingerprint of the inputs for which a tick was started; the UI hides tags that begin with
`.dagster`."""


class Warehouse(dg.ConfigurableResource[Any]):
    """The settings and the warehouse, for assets and ops.

    Attributes:
        environment: `ET_*` variables that override the process's environment, for one deployment or test.
    """

    environment: dict[str, str] = {}  # noqa: RUF012 - a pydantic field, copied per instance

    @property
    def settings(self) -> Settings:
        """The present settings. They are read at each call, never while definitions are loaded."""
        return Settings.from_env({**os.environ, **self.environment})

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """Holds the lock of runs as long as the run lasts; sensors and schedules are not runs."""
        with nullcontext() if context.run is None else run_in_progress(self.settings):
            yield self

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The warehouse, opened for writing; see `open_warehouse`."""
        with open_warehouse(self.settings) as connection:
            yield connection

    @contextmanager
    def engine(self, connection: duckdb.DuckDBPyConnection) -> Iterator[Engine]:
        """The engine with reports and pairs: the warehouse itself, or the cluster that the settings name."""
        spark = self.settings.spark
        refuse_another_engine(connection, local=spark is None)
        if spark is None:
            yield DuckDBEngine(connection)
            return
        try:
            from et_pipeline.spark.session import spark_engine
        except ImportError as error:
            raise EngineError(
                f"ET_ENGINE is 'spark', which needs more: pip install 'et-pipeline[spark]' ({error})"
            ) from error
        with spark_engine(spark, connection) as engine:
            yield engine
