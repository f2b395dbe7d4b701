"""One run's session with a cluster."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyspark.sql.connect.session import SparkSession

from et_pipeline.settings import SparkSettings
from et_pipeline.spark.engine import SparkEngine
from et_pipeline.spark.storage import Storage
from et_pipeline.warehouse.engine import EngineError

if TYPE_CHECKING:
    import duckdb

DEFAULT_PORT = 15002
CONNECT_SECONDS = 10.0


@contextmanager
def spark_engine(settings: SparkSettings, connection: duckdb.DuckDBPyConnection) -> Iterator[SparkEngine]:
    """An engine for one run, on the cluster that the settings name.

    Only one run at a time may use it: the one that has the warehouse open.

    Raises:
        EngineError: There is no server at the address.
    """
    _refuse_silence(settings.url)
    session = SparkSession.builder.remote(settings.url).create()
    try:
        session.conf.set("spark.sql.session.timeZone", "UTC")
        engine = SparkEngine(connection, session, Storage(settings.reports))
        yield engine
        engine.sweep()
    finally:
        session.stop()


def _refuse_silence(url: str) -> None:
    """Raises an error if there is no server; the client itself would try for minutes before it did so."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port or DEFAULT_PORT), CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(
            f"ET_SPARK_URL is {url!r}, where no Spark Connect server answers ({error}); start it, or set another"
        ) from error
