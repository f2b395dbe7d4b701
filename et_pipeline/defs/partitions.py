"""The partitions of the asset `experiment`, one per experiment, and what a tick records about each.

All tables are assets without partitions: Dagster's event log takes some 15 ms for each partition of each asset, so a
tick would become slower with the number of open experiments. One partitioned asset is enough for a person to find,
compare and run again one experiment, and a tick records only those that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from et_pipeline import __version__
from et_pipeline.common.numbers import finite
from et_pipeline.contracts.plan import content_hash

EXPERIMENT = dg.AssetKey("experiment")
EXPERIMENT_PARTITIONS = "experiment"
EXPERIMENTS = dg.DynamicPartitionsDefinition(name=EXPERIMENT_PARTITIONS)
SOURCES = ("intervals", "verdicts", "review_pages")
"""The assets from which `experiment` is made."""
DATA_VERSION = "dagster/data_version"
"""Tag of a materialisation with the version of its content, for Dagster."""
SHARED = dg.DataVersion("shared")
"""Data version of the tables from which `experiment` is made. It never changes: a new row does not change every
experiment, and a tick finds out which ones changed. So the UI does not mark partitions as unsynced."""
MADE_FROM = {"dagster/code_version": __version__} | {
    tag: value
    for source in SOURCES
    for tag, value in (
        (f"dagster/input_data_version/{source}", SHARED.value),
        (f"dagster/input_event_pointer/{source}", "NULL"),
    )
}
"""Tags of a materialisation with the versions of its code and its inputs, for Dagster."""
EXPERIMENT_TAG = "et.experiment"
"""Namespace of run tags: every run that changed something about an experiment has `et.experiment/<experiment_id>`."""


def changed_experiments(
    instance: dg.DagsterInstance, facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dg.AssetMaterialization]:
    """The materialisations of experiments whose figures differ from those that were recorded last.

    Changes are found by the data version, a hash of the figures. So none is left out after a run was killed or after
    old runs were deleted.

    Args:
        instance: The Dagster instance.
        facts: The facts to record, by experiment; the UI plots numbers over time. None, NaN and infinity are left
            out, since the UI cannot show them.

    Returns:
        The materialisation of its partition, by experiment.
    """
    known = instance.event_log_storage.get_latest_tags_by_partition(
        EXPERIMENT, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION], list(facts)
    )
    changed = {}
    for name, noted in facts.items():
        version = {DATA_VERSION: content_hash(as_metadata(noted))}
        if known.get(name) != version:
            changed[name] = dg.AssetMaterialization(
                EXPERIMENT, partition=name, metadata=as_metadata(noted), tags=MADE_FROM | version
            )
    return changed


def as_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that the UI can show: neither None nor NaN or infinite."""
    return {name: value for name, value in facts.items() if finite(value) is not None}


def tag_experiments(context: dg.AssetExecutionContext, changed: Iterable[str]) -> None:
    """Tags the run with the experiments that it changed, so that all runs of one experiment can be found."""
    tags = {f"{EXPERIMENT_TAG}/{name[:63]}": "changed" for name in sorted(set(changed))}
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)
