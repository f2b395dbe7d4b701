"""Experiments that are settled cost a tick nothing in Dagster, and what changes about them is still shown."""

from __future__ import annotations

import shutil
from collections import defaultdict

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from et_pipeline.definitions import defs
from et_pipeline.defs.ticks import RANGE_END, RANGE_START, tick_request
from et_pipeline.due import LastTick, read_last_tick
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.job.conftest import World, generate

pytestmark = pytest.mark.xdist_group("sample_job")

SETTLED = "basket-rebalance-fast"
OPEN = {"late-news-filter", "line-shop-v4", "quote-refresh-2s", "wide-split-props"}
"""`quote-refresh-2s` is settled too, and stands between two that are not: a range has no holes."""


def noted(result: dg.ExecuteInProcessResult) -> dict[str, set[str]]:
    """By experiment: the assets whose partition of it a run materialised."""
    assert result.success
    found = defaultdict(set)
    for event in result.get_asset_materialization_events():
        if event.partition is not None:
            found[event.partition].add(event.asset_key.to_user_string())
    return dict(found)


def shown(world: World, asset: str, experiment: str) -> int:
    """The row count that the UI shows on the experiment's partition of an asset."""
    records = world.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[experiment]), limit=1
    ).records
    metadata = records[0].asset_materialization.metadata
    return metadata["dagster/partition_row_count"].value


def unsynced(world: World) -> dict[tuple[str, str], list[str]]:
    """By asset and experiment: why the UI would call the partition unsynced."""
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(world.instance, graph, LoadingContextForTest(world.instance))
    found = {
        (key.to_user_string(), name): [
            f"{cause.reason}: {cause.dependency}" for cause in resolver.get_stale_causes(key, name)
        ]
        for key in graph.get_all_asset_keys()
        if graph.get(key).is_partitioned
        for name in [*OPEN, SETTLED]
    }
    return {place: causes for place, causes in found.items() if causes}


def test_a_settled_experiment_is_noted_again_only_where_something_else_is_to_be_shown(world: World) -> None:
    shutil.copytree(SAMPLE_PLANS, world.folder / "experiments", dirs_exist_ok=True)
    generate(world)
    late = max(world.settings.report_bus_dir.glob("*.ndjson"))
    late.rename(world.folder / late.name)
    first = noted(world.tick())
    everything = first[SETTLED]
    assert first == dict.fromkeys([*OPEN, SETTLED], everything) and "pairs" in everything
    last = read_last_tick(world.settings)
    assert last is not None and last.settled == {SETTLED, "quote-refresh-2s"}
    world.tick()
    quiet = world.tick()
    assert noted(quiet) == dict.fromkeys(OPEN, everything)
    assert unsynced(world) == {}

    before = shown(world, "pairs", SETTLED)
    (world.folder / late.name).rename(late)
    changed = noted(world.tick())
    assert {"pairs", "cells", "interval_path", "intervals", "diagnostics", "drift"} <= changed[SETTLED]
    assert "sign_offs" not in changed[SETTLED]
    ((pairs,),) = world.rows(f"SELECT count(*) FROM pairs WHERE experiment_id = '{SETTLED}'")
    assert before < shown(world, "pairs", SETTLED) == pairs
    assert unsynced(world) == {}

    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    assert noted(world.tick())[SETTLED] == everything
    assert shown(world, "pairs", SETTLED) == pairs
    assert SETTLED not in noted(world.tick())

    chosen = world.run("tick", asset_selection=[dg.AssetKey("cells")], partition_key=SETTLED)
    assert noted(chosen) == {SETTLED: {"cells"}}, "a person may choose it all the same"


@pytest.mark.parametrize(
    ("settled", "start", "end"),
    [
        ("", "a", "d"),
        ("a", "b", "d"),
        ("a d", "b", "c"),
        ("b c", "a", "d"),
        ("a c d", "b", "b"),
        ("a b c d", "d", "d"),
        ("gone", "a", "d"),
    ],
)
def test_the_range_goes_from_the_first_to_the_last_open_experiment(
    settings: Settings, settled: str, start: str, end: str
) -> None:
    last = LastTick("inputs", settings.now(), frozenset(settled.split()))
    tags = tick_request(settings, "inputs", ["a", "b", "c", "d"], last).tags
    assert (tags[RANGE_START], tags[RANGE_END]) == (start, end)
