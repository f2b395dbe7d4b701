"""What every stage's assets share: the warehouse as a resource, partitions, owners, metadata."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.contracts.plan import content_hash
from et_pipeline.engine.engine import DuckDBEngine, Engine, EngineError, refuse_another_engine
from et_pipeline.resources.runs import run_in_progress
from et_pipeline.resources.settings import Settings
from et_pipeline.resources.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

OWNERS = ["team:strategy-governance"]
POOL = "warehouse"
"""One run at a time holds the warehouse; the limit stands in `dagster.yaml`."""
EXPERIMENT_PARTITIONS = "experiment"
EXPERIMENTS = dg.DynamicPartitionsDefinition(name=EXPERIMENT_PARTITIONS)
"""One partition an experiment. A tick is one run over all of them; a run that a person starts may choose some."""
ONE_RUN = dg.BackfillPolicy.single_run()
DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26), warn_window=timedelta(hours=25))
"""Every UTC day makes a tick due, so what a tick publishes is never much older, unless ticks do not run."""
INPUTS_TAG = ".dagster/et_inputs"
"""Run tag with the fingerprint of the inputs that a tick was started for; the UI hides what begins with `.dagster`."""
DATA_VERSION, CODE_VERSION = "dagster/data_version", "dagster/code_version"
INPUT_VERSION, INPUT_EVENT = "dagster/input_data_version", "dagster/input_event_pointer"
"""Tags of a materialisation by which Dagster knows its content, and what it was made from."""
SHARED = dg.DataVersion("shared")
"""Of a table that all experiments share: a new row is not news for each of them, and their stages find out by
themselves for which; so the UI calls none unsynced for it."""
EXPERIMENT_TAG = "et.experiment"
"""Namespace of run tags: `et.experiment/<experiment_id>` is on every run that changed something about it."""


class Warehouse(dg.ConfigurableResource[Any]):
    """The settings and the warehouse, for assets and ops.

    Attributes:
        environment: `ET_*` variables that override the process's environment, for one deployment or test.
    """

    environment: dict[str, str] = {}  # noqa: RUF012 - a pydantic field, copied per instance

    @property
    def settings(self) -> Settings:
        """The settings in force, read when they are asked for, never when definitions load."""
        return Settings.from_env({**os.environ, **self.environment})

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Warehouse]:
        """Tells others that a run goes on, for as long as it does; sensors and schedules are no runs."""
        with nullcontext() if context.run is None else run_in_progress(self.settings):
            yield self

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The warehouse, opened for writing; see `open_warehouse`."""
        with open_warehouse(self.settings) as connection:
            yield connection

    @contextmanager
    def engine(self, connection: duckdb.DuckDBPyConnection) -> Iterator[Engine]:
        """Where reports and pairs are: the warehouse itself, or the cluster that the settings name."""
        spark = self.settings.spark
        refuse_another_engine(connection, local=spark is None)
        if spark is None:
            yield DuckDBEngine(connection)
            return
        try:
            from et_pipeline.engine.spark import spark_engine
        except ImportError as error:
            raise EngineError(
                f"ET_ENGINE is 'spark', which needs more: pip install 'et-pipeline[spark]' ({error})"
            ) from error
        with spark_engine(spark, connection) as engine:
            yield engine


def spec(
    table: str,
    *,
    group: str,
    deps: Sequence[str] = (),
    description: str,
    kinds: Iterable[str] = ("duckdb",),
    partitioned: bool = False,
    lineage: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    fresh: bool = False,
) -> dg.AssetSpec:
    """The specification of an asset that is a table of the warehouse.

    Args:
        table: Name of asset and table.
        group: The stage, as the diagram names it.
        deps: Assets it is computed from.
        description: What a row is, with an example (Markdown).
        kinds: What shows as its kind in the UI.
        partitioned: Whether it is partitioned by experiment.
        lineage: For each column the (asset, column) pairs it comes from.
        fresh: Whether the UI warns and alarms when it was not made for longer than `DAILY` says.

    Returns:
        The specification, with owners and column lineage.
    """
    metadata: dict[str, Any] = {}
    if lineage:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(dg.AssetKey(asset), source) for asset, source in sources]
                for column, sources in lineage.items()
            }
        )
    return dg.AssetSpec(
        table,
        group_name=group,
        deps=list(deps),
        description=description,
        kinds=set(kinds),
        owners=OWNERS,
        metadata=metadata,
        partitions_def=EXPERIMENTS if partitioned else None,
        freshness_policy=DAILY if fresh else None,
    )


def table_metadata(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, Any]:
    """Row count and column schema of a table as the UI understands them.

    Args:
        connection: The warehouse.
        table: Name of a table.

    Returns:
        Metadata with `dagster/row_count` and `dagster/column_schema`; descriptions are the table's comments.
    """
    count = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()
    columns = connection.execute(
        "SELECT column_name, data_type, comment, is_nullable FROM duckdb_columns() "
        "WHERE table_name = ? AND NOT internal ORDER BY column_index",
        [table],
    ).fetchall()
    return {
        "dagster/row_count": dg.MetadataValue.int(count[0] if count else 0),
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=name,
                    type=kind,
                    description=comment,
                    constraints=dg.TableColumnConstraints(nullable=nullable),
                )
                for name, kind, comment, nullable in columns
            ]
        ),
    }


def materialized(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    *,
    engine: Engine | None = None,
    version: dg.DataVersion | None = None,
    **metadata: Any,
) -> dg.MaterializeResult[Any]:
    """The result of an asset that is a table: its row count, column schema and what else is worth showing.

    Args:
        connection: The warehouse.
        table: Name of asset and table.
        engine: Where its rows are; without one, in the warehouse.
        version: Its data version; without one, each run makes a new one.
        metadata: What else to show.
    """
    shown = table_metadata(connection, table)
    if engine is not None:
        ((rows,),) = engine.rows(f"SELECT count(*) FROM {table}")
        shown["dagster/row_count"] = dg.MetadataValue.int(rows)
    return dg.MaterializeResult(asset_key=table, metadata={**shown, **metadata}, data_version=version)


_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>&:!#|~]")


def bullets(lines: Iterable[str], empty: str = "none") -> dg.MarkdownMetadataValue:
    """A list for the UI; what others wrote into a line stays text, never a link, an image or HTML."""
    return dg.MetadataValue.md("\n".join(f"- {_MARKDOWN.sub(_escaped, line)}" for line in lines) or empty)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


SHOWN = 10
"""Problems that a check names; the rest is counted."""


def check_result(
    asset: str, name: str, problems: Sequence[str], fine: str, *, warn: bool = False
) -> dg.AssetCheckResult:
    """The result of a check that lists what is wrong.

    Args:
        asset: The asset it guards.
        name: Its name.
        problems: A sentence for each thing that is wrong.
        fine: What it says where nothing is.
        warn: Whether a failure is a warning, not an error.
    """
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
        description="; ".join(problems[:SHOWN]) + more if problems else fine,
        metadata={"problems": len(problems)},
    )


def experiments_of(context: dg.AssetExecutionContext) -> list[str]:
    """The experiments that a run looks at: a tick at all of them, a run that a person starts at those chosen."""
    if INPUTS_TAG in context.run.tags:
        return list(context.instance.get_dynamic_partitions(EXPERIMENT_PARTITIONS))
    return list(context.partition_keys)


def note_partitions(
    context: dg.AssetExecutionContext,
    connection: duckdb.DuckDBPyConnection,
    table: str,
    experiments: Sequence[str],
    *,
    changed: Collection[str] = (),
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    counted: bool = True,
    engine: Engine | None = None,
) -> None:
    """Notes each experiment's row count and figures on its partition of a table; the UI plots them over time.

    Partitions of the run are materialised by Dagster. Those of settled experiments are outside of a tick's
    range (see `TickRequest`): they are materialised here where their rows changed, or where what is to be
    shown is not what was last shown. The latter is told by the data version, so nothing stays untold after
    a run that died or after old runs were deleted.

    Args:
        context: The run.
        connection: The warehouse.
        table: Name of asset and table.
        experiments: Those that the run looks at, see `experiments_of`.
        changed: Experiments with other rows than before, though maybe as many.
        facts: By experiment: what else to note. None, NaN and infinity are left out, which the UI has no
            words for.
        counted: Whether its rows belong to experiments, so that each one's can be counted.
        engine: Where the rows are; without one, in the warehouse.
    """
    shown = {name: _tellable((facts or {}).get(name, {})) for name in experiments}
    if counted:
        query = f"SELECT experiment_id, count(*) FROM {table} GROUP BY experiment_id"
        counts = dict((engine or DuckDBEngine(connection)).rows(query))
        for name, noted in shown.items():
            noted["dagster/partition_row_count"] = counts.get(name, 0)
    for name in context.partition_keys:
        context.add_asset_metadata(shown.pop(name), asset_key=table, partition_key=name)
    if not shown:
        return
    versions = context.instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(table), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION], list(shown)
    )
    inputs = {CODE_VERSION: context.run.run_id}
    for key in context.assets_def.asset_deps[dg.AssetKey(table)]:
        inputs[f"{INPUT_VERSION}/{key.to_user_string()}"] = SHARED.value
        inputs[f"{INPUT_EVENT}/{key.to_user_string()}"] = "NULL"
    for name, noted in shown.items():
        version = {DATA_VERSION: content_hash(noted)}
        if name in changed or versions.get(name) != version:
            event = dg.AssetMaterialization(table, partition=name, metadata=noted, tags=inputs | version)
            context.log_event(event)


def _tellable(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None and not _endless(value)}


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def facts_by_experiment(
    connection: duckdb.DuckDBPyConnection, query: str, experiments: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The rows of a query by their column `experiment_id`, for `note_partitions`.

    Args:
        connection: The warehouse.
        query: A query with the parameter `$experiments`; its first column is `experiment_id`.
        experiments: The experiments to ask for.
    """
    cursor = connection.execute(query, {"experiments": list(experiments)})
    names = [column[0] for column in cursor.description or []][1:]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in cursor.fetchall()}


def tag_experiments(context: dg.AssetExecutionContext, changed: Iterable[str]) -> None:
    """Tags the run with the experiments it changed something about, so that all runs of one are found."""
    tags = {f"{EXPERIMENT_TAG}/{name[:63]}": "changed" for name in sorted(set(changed))}
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)
