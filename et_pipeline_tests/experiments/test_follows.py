"""Plans that follow another experiment after its promotion: what is refused, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

import duckdb
import pytest
import yaml

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.contracts.refusals import Refusal
from et_pipeline.experiments.registration import register
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import METRICS, START, add_experiment

BEGIN = START.replace(tzinfo=UTC)
OLD, NEW = ({"strategy_id": "strat.first", "config_version": version} for version in ("1", "2"))
AFTER = {
    "follows": "first",
    "control": NEW,
    "variant": OLD,
    "starts_at": BEGIN + timedelta(days=30),
    "ends_at": BEGIN + timedelta(days=60),
}


@pytest.fixture
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as found:
        yield found


def refused(connection: duckdb.DuckDBPyConnection, settings: Settings, **changes: Any) -> list[Refusal]:
    """What is refused of a plan that follows `first`, which is registered before."""
    add_experiment(connection, settings, "first")
    plan = yaml.safe_load((settings.experiments_dir / "first.yaml").read_text())
    plan |= {"experiment_id": "after", **AFTER, **changes}
    (settings.experiments_dir / "after.yaml").write_text(yaml.safe_dump(plan))
    return register(connection, settings, BEGIN).refused


def test_a_plan_follows_one_that_has_no_verdict_yet(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    assert refused(connection, settings) == []
    query = "SELECT experiment_id, follows FROM experiments ORDER BY ALL"
    assert connection.execute(query).fetchall() == [("after", "first"), ("first", None)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"follows": "nobody"}, "no registered experiment has this id"),
        ({"starts_at": BEGIN}, "a plan that starts later"),
        ({"control": OLD, "variant": NEW}, "its variant as control and its control as variant"),
        ({"variant": {"strategy_id": "strat.first"}}, "with the same config_version"),
        ({"metrics": [{"name": "latency_ms", "role": "primary"}]}, "the same primary metric"),
        ({"metrics": [METRICS[0] | {"winsor": [-50, 50]}]}, "with the same estimator and winsor"),
        (
            {"weighting": "markets"},
            "promises edge_bps by pairs; allowed: the same primary metric and weighting",
        ),
    ],
)
def test_what_cannot_be_held_against_the_promise_is_refused(
    connection: duckdb.DuckDBPyConnection, settings: Settings, changes: dict[str, Any], words: str
) -> None:
    (problem,) = refused(connection, settings, **changes)
    assert (problem.experiment_id, problem.key) == ("after", "follows")
    assert words in problem.sentence


def test_both_may_come_in_one_tick_and_an_unknown_one_may_come_later(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    later = BEGIN + timedelta(days=32)
    assert refused(connection, settings, follows="zz-later", starts_at=later)
    plan = yaml.safe_load((settings.experiments_dir / "first.yaml").read_text())
    plan |= {"experiment_id": "zz-later", "starts_at": later - timedelta(days=1), "ends_at": AFTER["ends_at"]}
    (settings.experiments_dir / "zz-later.yaml").write_text(yaml.safe_dump(plan))
    outcome = register(connection, settings, BEGIN)
    assert (outcome.refused, outcome.registered) == ([], ["zz-later", "after"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"follows": "after"}, "cannot follow itself"), ({"mode": "limited_live"}, "follows: only for shadow")],
)
def test_itself_and_limited_live_are_refused_in_the_plan(
    connection: duckdb.DuckDBPyConnection, settings: Settings, changes: dict[str, Any], words: str
) -> None:
    (problem,) = refused(connection, settings, **changes)
    assert words in str(problem)


def test_it_is_frozen_and_a_plan_without_it_keeps_its_hash(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    assert refused(connection, settings) == []
    path = settings.experiments_dir / "after.yaml"
    before = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({name: value for name, value in before.items() if name != "follows"}))
    (problem,) = register(connection, settings, BEGIN).refused
    assert problem.key == "follows" and "frozen since EXPERIMENT_STARTED" in problem.sentence
    plain = parse_plan((settings.experiments_dir / "first.yaml").read_bytes(), "first.yaml")
    assert isinstance(plain, Plan) and "follows" not in plain.frozen
