"""The engine on a cluster over Spark Connect: Apache Spark or Sail. Rows are stored in Parquet files below one path.

    reports/batch=<number>/day=<UTC day>/          valid reports, one folder per ingest
    pairs/run=<name>/experiment_id=<experiment>/   pairs, written by each run that paired the experiment
    unmatched/run=<name>/experiment_id=…/
    scratch/<run>/                                 temporary files of a run in progress

Files are never changed. The warehouse determines which of them count: batches up to its newest one, and one run
for each experiment. Files that a crash left behind are not named there, and are removed later.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql.connect.session import SparkSession

from et_pipeline.common.sql import among, load
from et_pipeline.ingest.ingest import newest_batch
from et_pipeline.spark.dialect import KINDS, to_spark
from et_pipeline.spark.storage import Storage
from et_pipeline.warehouse.engine import DuckDBEngine

if TYPE_CHECKING:
    import duckdb
    from pyarrow import RecordBatch, Table
    from pyspark.sql.types import StructType


ROWS = 100_000
"""Largest number of rows that are read back at once. If a table was made in the same transaction, and more than one row
group (122,880 rows) comes from Arrow at once, DuckDB 2.0.0 does not see these rows before the end of the
transaction."""
REMOTE = ("pairs", "unmatched")
"""The tables that this engine writes."""


class SparkEngine:
    """The engine of one run on a cluster, see `Engine`; it is made by `session.spark_engine`."""

    local = False

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, session: SparkSession, storage: Storage
    ) -> None:
        self.connection = connection
        self.warehouse = DuckDBEngine(connection)
        self.session = session
        self.storage = storage
        self.run = uuid.uuid4().hex
        self._numbers = count(1)
        self._kept: dict[str, str] = {}
        self._gone: dict[str, list[str]] = {name: [] for name in REMOTE}
        self._written: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Reads from the warehouse which reports and pairs count now."""
        self.share("displaced")
        self._view_reports()
        for table in REMOTE:
            self._gone[table].clear()
            self._view_remote(table)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """See `Engine`. Views end with the session; after an error, `sweep` removes the files later."""
        before = set(self._kept)
        with self.warehouse.scope():
            yield
        for name in set(self._kept) - before:
            self.drop(name)

    def share(self, *tables: str) -> None:
        """See `Engine`."""
        for table in tables:
            frame = pl.DataFrame(self.connection.sql(f"SELECT * FROM {table}"))
            frame = frame.with_columns(
                pl.col(pl.Datetime).dt.replace_time_zone("UTC"), pl.col(pl.UInt64).reinterpret(signed=True)
            )
            rows = self.session.createDataFrame(frame.to_arrow(), _schema(self._columns(table)))
            rows.createOrReplaceTempView(table)

    def create_temp(self, name: str, text: str) -> int:
        """See `Engine`. The rows are written to files, so that after the loss of a worker only its own work is
        repeated."""
        return self._keep(name, self.session.sql(to_spark(text)))

    def create_mapped(
        self,
        name: str,
        tasks: Sequence[Mapping[str, object]],
        function: Callable[[Iterator[RecordBatch]], Iterator[RecordBatch]],
        columns: Mapping[str, str],
    ) -> int:
        """Makes a temporary table from the results of a function on the workers, with one partition for each task."""
        if not tasks:
            return self._keep(name, self.session.createDataFrame([], _schema(columns)))
        rows = self.session.createDataFrame(pl.DataFrame(tasks, infer_schema_length=None).to_arrow())
        return self._keep(name, rows.repartition(len(tasks)).mapInArrow(function, _schema(columns)))

    def create_judged(
        self,
        name: str,
        table: str,
        buckets: int,
        function: Callable[[Table], Table],
        columns: Mapping[str, str],
    ) -> int:
        """Makes a temporary table from the results of a function, which gets all rows with the same `report_key` at
        once.

        The rows are divided into buckets by that key.
        """
        bucket = f"CAST(report_key % {buckets} AS INT) AS bucket"
        rows = self.session.table(table).selectExpr("*", bucket)
        return self._keep(name, rows.groupBy("bucket").applyInArrow(function, _schema(columns)))

    def store(self, batch: int, text: str) -> None:
        """Writes reports as a batch of the data set and makes the view `stored_batch` of them.

        It replaces files of the same batch that a crash may have left.
        """
        path = self.storage.path("reports", f"batch={batch}")
        self.storage.remove("reports", f"batch={batch}")
        self.session.sql(to_spark(text)).write.partitionBy("day").parquet(path)
        self._batches(batch).where(f"batch = {batch}").createOrReplaceTempView("stored_batch")

    def _keep(self, name: str, frame: DataFrame) -> int:
        folder = f"{name}-{next(self._numbers)}"
        frame.write.parquet(self.storage.path("scratch", self.run, folder))
        self.drop(name)
        self._kept[name] = folder
        return self._view_kept(name, frame.schema)

    def create_view(self, name: str, text: str) -> None:
        """See `Engine`."""
        self.session.sql(to_spark(text)).createOrReplaceTempView(name)

    def insert(self, table: str, text: str, *, by_name: bool = False) -> int:
        """See `Engine`. For a table of the warehouse, the rows are read back; files always match columns by name."""
        frame = self.session.sql(to_spark(text))
        if table in REMOTE:
            run = f"run={self.run}"
            before = self.storage.rows(table, run)
            frame.write.mode("append").partitionBy("experiment_id").parquet(self.storage.path(table, run))
            self._written.add(table)
            self._view_remote(table)
            return self.storage.rows(table, run) - before
        if table in self._kept:
            place = self._scratch(table)
            before = self.storage.rows(*place)
            frame.write.mode("append").parquet(self.storage.path(*place))
            return self._view_kept(table, frame.schema) - before
        found = frame.toArrow()
        for start in range(0, found.num_rows, ROWS):
            rows = found.slice(start, ROWS)  # noqa: F841 (DuckDB scans it by name)
            self.connection.execute(f"INSERT INTO {table}{' BY NAME' if by_name else ''} SELECT * FROM rows")
        return int(found.num_rows)

    def delete(self, table: str, condition: str) -> None:
        """See `Engine`: excludes rows that earlier runs wrote into `pairs` and `unmatched`."""
        self._gone[table].append(to_spark(f"SELECT {condition}").removeprefix("SELECT "))
        self._view_remote(table)

    def delete_returning(self, name: str, table: str, columns: str, condition: str) -> int:
        """See `Engine`."""
        rows = self.create_temp(name, f"SELECT {columns} FROM {table} WHERE {condition}")
        self.delete(table, condition)
        return rows

    def drop(self, name: str) -> None:
        """See `Engine`."""
        if name in self._kept:
            self.storage.remove(*self._scratch(name))
            del self._kept[name]

    def frame(self, text: str) -> pl.DataFrame:
        """See `Engine`."""
        frame = pl.DataFrame(self.session.sql(to_spark(text)).toArrow())
        return frame.with_columns(pl.col(pl.Datetime).dt.replace_time_zone(None))

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """See `Engine`."""
        return self.frame(text).rows()

    def finish(self, experiments: Sequence[str]) -> None:
        """Records that the pairs of this run count for these experiments, and the numbers that pages show about
        them."""
        if not experiments:
            return
        inside = among(experiments)
        for table, name in (
            ("pair_blocks_elsewhere", "pair_blocks"),
            ("unmatched_elsewhere", "unmatched_reasons"),
        ):
            self.connection.execute(f"DELETE FROM {table} WHERE {inside}")
            self.insert(table, load(__package__, name, inside=inside))
        self.connection.execute(f"DELETE FROM pairs_elsewhere WHERE {inside}")
        self.connection.execute(
            "INSERT INTO pairs_elsewhere SELECT unnest(?::VARCHAR[]), ?", [experiments, self.run]
        )

    def _columns(self, table: str) -> dict[str, str]:
        """A table's columns and their types in Spark."""
        rows = self.connection.execute(f"DESCRIBE {table}").fetchall()
        return {name: KINDS[kind] for name, kind, *_ in rows}

    def _read(self, table: str, folders: Sequence[str], **partitions: str) -> DataFrame:
        """A data set's rows with the columns of its table; columns are also read from the names of folders."""
        schema = _schema(self._columns(table) | partitions)
        if not folders:
            return self.session.createDataFrame([], schema)
        return self.session.read.schema(schema).parquet(self.storage.path(table))

    def _view_reports(self) -> None:
        """Makes the view `reports`: the reports of all committed ingests, without those that a conflict removed
        again."""
        self._batches(newest_batch(self.connection)).createOrReplaceTempView("stored_reports")
        sound = self.session.sql(to_spark(load(__package__, "reports")))
        sound.select(*self._columns("reports")).createOrReplaceTempView("reports")

    def _batches(self, newest: int) -> DataFrame:
        folders = self.storage.names("reports") if newest else []
        return self._read("reports", folders, day="STRING").where(f"batch <= {newest}")

    def _view_remote(self, table: str) -> None:
        """Makes the view of a table: the rows of the runs that count, without deleted rows, and those of this run."""
        rows = self.connection.execute("SELECT experiment_id, run FROM pairs_elsewhere").fetchall()
        present = " OR ".join(f"experiment_id = '{name}' AND run = '{run}'" for name, run in rows) or "false"
        left = " AND ".join([f"({present})", *(f"NOT ({condition})" for condition in self._gone[table])])
        folders = self.storage.names(table) if rows or table in self._written else []
        whole = self._read(table, folders, run="STRING").where(f"{left} OR {self._own}")
        whole.select(*self._columns(table)).createOrReplaceTempView(table)

    @property
    def _own(self) -> str:
        """The condition that a row was written by this run."""
        return f"run = '{self.run}'"

    def _view_kept(self, name: str, schema: StructType) -> int:
        """Makes a view of files that were written and returns the number of rows; without rows, Sail writes no file."""
        rows = self.storage.rows(*self._scratch(name))
        frame: DataFrame
        if rows:
            frame = self.session.read.schema(schema).parquet(self.storage.path(*self._scratch(name)))
        else:
            frame = self.session.createDataFrame([], schema)
        frame.createOrReplaceTempView(name)
        return rows

    def _scratch(self, name: str) -> tuple[str, str, str]:
        return "scratch", self.run, self._kept[name]

    def sweep(self) -> None:
        """Removes files that no run needs any more; it is called after the warehouse's commit."""
        self.storage.remove("scratch")
        rows = self.connection.execute("SELECT DISTINCT run FROM pairs_elsewhere").fetchall()
        for table in REMOTE:
            for name in set(self.storage.names(table)) - {f"run={run}" for (run,) in rows}:
                self.storage.remove(table, name)


def _schema(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns.items())
