"""The asset `experiment`: a tick records only what changed, and a person can run one experiment again alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from et_pipeline.definitions import defs
from et_pipeline.defs.partitions import EXPERIMENT
from et_pipeline.defs.specs import page_link
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.job.conftest import QUIET, World, generate

pytestmark = pytest.mark.xdist_group("sample_job")

ENDED = "basket-rebalance-fast"
EVERY = {
    ENDED, "late-news-filter", "line-shop-v4", "live-inventory-skew", "passive-exits-v2", "quote-refresh-2s",
    "wide-split-props",
}  # fmt: skip


def noted(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """By experiment: the metadata that a run noted."""
    assert result.success
    events = [event for event in result.get_asset_materialization_events() if event.partition is not None]
    assert {event.asset_key for event in events} <= {EXPERIMENT}, "every table is a plain asset"
    return {
        event.partition: {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in events
    }


def again(world: World, experiment: str) -> dg.ExecuteInProcessResult:
    """What *Materialize* on a partition of `experiment` runs."""
    environment = {"ET_DATA_DIR": str(world.folder), **world.environment}
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=world.instance,
        run_config={**QUIET, "resources": {"warehouse": {"config": {"environment": environment}}}},
        raise_on_error=False,
        asset_selection=[EXPERIMENT],
        partition_key=experiment,
    )


def unsynced(world: World, names: set[str]) -> dict[str, list[str]]:
    """By experiment: why the UI would call it unsynced."""
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(world.instance, graph, LoadingContextForTest(world.instance))
    found = {
        name: [f"{cause.reason}: {cause.dependency}" for cause in resolver.get_stale_causes(EXPERIMENT, name)]
        for name in names
    }
    return {name: causes for name, causes in found.items() if causes}


def test_pages_are_links_where_they_have_an_address(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, pages_url="https://pages.example")
    assert page_link(settings, "alpha") == dg.MetadataValue.url("https://pages.example/alpha.html")
    file = str(tmp_path / "published" / "pages" / "alpha.html")
    assert page_link(replace(settings, pages_url=None), "alpha") == dg.MetadataValue.path(file)


def test_a_tick_notes_the_experiments_that_changed_and_no_other(world: World) -> None:
    few = {ENDED, "line-shop-v4"}
    for name in few:
        shutil.copy(SAMPLE_PLANS / f"{name}.yaml", world.folder / "experiments")
    generate(world, opportunities=1_000)
    late = max(world.settings.report_bus_dir.glob("*.ndjson"))
    late.rename(world.folder / late.name)
    first = noted(world.tick())
    assert set(first) == few
    assert first[ENDED]["interval_path"].startswith(f"![interval path of {ENDED}](data:image/")
    assert first[ENDED]["page"].endswith(f"{ENDED}.html")
    assert noted(world.tick()) == {}, "nothing is new"
    assert unsynced(world, few) == {}

    (world.folder / late.name).rename(late)
    changed = noted(world.tick())
    assert changed[ENDED]["n_pairs"] > first[ENDED]["n_pairs"]
    assert unsynced(world, few) == {}

    for run in world.instance.get_runs():
        world.instance.delete_run(run.run_id)
    assert set(noted(world.tick())) == few, "what old runs had told is told again"
    assert noted(world.tick()) == {}


def test_what_is_noted_is_what_the_tables_hold(sample) -> None:
    rows = sample.world.rows(
        "SELECT v.experiment_id, state, verdict, i.n_pairs, mean_uplift, "
        "CASE WHEN isfinite(ci_lower) THEN ci_lower END, CASE WHEN isfinite(ci_upper) THEN ci_upper END "
        "FROM verdicts AS v LEFT JOIN intervals AS i ON i.experiment_id = v.experiment_id AND role = 'primary'"
    )
    shown = noted(sample.result)
    names = ("state", "verdict", "n_pairs", "mean_uplift", "ci_lower", "ci_upper")
    assert {row[0]: row[1:] for row in rows} == {
        name: tuple(facts.get(column) for column in names) for name, facts in shown.items()
    }


def test_one_experiment_is_run_again_alone(sample) -> None:
    world = sample.world
    tables = ("pairs", "unmatched", "cells", "interval_path", "intervals", "verdicts", "events")
    before = {table: world.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in tables}
    result = again(world, "line-shop-v4")
    assert set(noted(result)) == {"line-shop-v4"}
    assert noted(result)["line-shop-v4"] == noted(sample.result)["line-shop-v4"]
    assert {table: world.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in tables} == before
    assert unsynced(world, EVERY) == {}


def test_an_experiment_that_is_not_registered_is_refused_with_a_sentence(sample) -> None:
    world = sample.world
    world.instance.add_dynamic_partitions("experiment", ["nobody"])
    result = again(world, "nobody")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "nobody is not registered" in failure.step_failure_data.user_failure_data.description
