"""Partitions by experiment: which experiments a run looks at, and what it notes about each."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from et_pipeline.contracts.plan import content_hash
from et_pipeline.defs.resource import INPUTS_TAG
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb

EXPERIMENT_PARTITIONS = "experiment"
EXPERIMENTS = dg.DynamicPartitionsDefinition(name=EXPERIMENT_PARTITIONS)
"""One partition an experiment. A tick is one run over all of them; a run that a person starts may choose some."""
ONE_RUN = dg.BackfillPolicy.single_run()
DATA_VERSION, CODE_VERSION = "dagster/data_version", "dagster/code_version"
INPUT_VERSION, INPUT_EVENT = "dagster/input_data_version", "dagster/input_event_pointer"
"""Tags of a materialisation by which Dagster knows its content, and what it was made from."""
SHARED = dg.DataVersion("shared")
"""Of a table that all experiments share: a new row is not news for each of them, and their stages find out by
themselves for which; so the UI calls none unsynced for it."""
EXPERIMENT_TAG = "et.experiment"
"""Namespace of run tags: `et.experiment/<experiment_id>` is on every run that changed something about it."""


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
