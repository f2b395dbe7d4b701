"""The partitions of the asset `experiment`, one an experiment, and what a tick notes about each.

All tables are plain assets: Dagster's event log takes some 15 ms for each partition of each asset, so a tick
would take the longer the more experiments are open. One partitioned asset is enough for a person to find,
compare and run again one experiment, and a tick notes only those that changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from et_pipeline import __version__
from et_pipeline.contracts.plan import content_hash

EXPERIMENT = dg.AssetKey("experiment")
EXPERIMENT_PARTITIONS = "experiment"
EXPERIMENTS = dg.DynamicPartitionsDefinition(name=EXPERIMENT_PARTITIONS)
SOURCES = ("intervals", "verdicts", "review_pages")
"""The assets that `experiment` is made from."""
DATA_VERSION = "dagster/data_version"
"""Tag of a materialisation by which Dagster knows its content."""
SHARED = dg.DataVersion("shared")
"""Data version of the tables that `experiment` is made from: a new row is not news for each experiment, and a
tick finds out by itself for which; so the UI calls none unsynced for it."""
MADE_FROM = {"dagster/code_version": __version__} | {
    tag: value
    for source in SOURCES
    for tag, value in (
        (f"dagster/input_data_version/{source}", SHARED.value),
        (f"dagster/input_event_pointer/{source}", "NULL"),
    )
}
"""Tags of a materialisation by which Dagster knows what it was made from."""
EXPERIMENT_TAG = "et.experiment"
"""Namespace of run tags: `et.experiment/<experiment_id>` is on every run that changed something about it."""


def changed_experiments(
    instance: dg.DagsterInstance, facts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dg.AssetMaterialization]:
    """What to note about the experiments whose figures are other than those last noted.

    What changed is shown by the data version, a hash of the figures, so nothing is left out after a run that
    died or after old runs were deleted.

    Args:
        instance: Where notes are kept.
        facts: By experiment: what to note; the UI plots numbers over time. None, NaN and infinity are left
            out, which the UI has no words for.

    Returns:
        By experiment: the materialisation of its partition.
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
    """The facts that the UI has words for: neither None nor a number without an end."""
    return {name: value for name, value in facts.items() if value is not None and not _endless(value)}


def _endless(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def tag_experiments(context: dg.AssetExecutionContext, changed: Iterable[str]) -> None:
    """Tags the run with the experiments it changed something about, so that all runs of one are found."""
    tags = {f"{EXPERIMENT_TAG}/{name[:63]}": "changed" for name in sorted(set(changed))}
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)
