"""What a plan and a deployment require of the backtester, and when this is fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.experiments.registration import register
from et_pipeline.settings import Settings, SettingsError
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.evidence.lab import START, add_experiment

TERMS = "SELECT replay_required, replay_margin FROM experiments"


@pytest.fixture
def connection(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(settings) as found:
        yield found


@pytest.mark.parametrize(
    ("fidelity", "expected"),
    [
        (None, (False, 2.0)),
        ({"require": True}, (True, 2.0)),
        ({"margin": 0.5}, (False, 0.5)),
        ({"require": True, "margin": 0.5}, (True, 0.5)),
    ],
)
def test_the_plan_says_what_it_asks_and_the_margin_is_the_primarys_otherwise(
    connection: duckdb.DuckDBPyConnection,
    settings: Settings,
    fidelity: dict[str, Any] | None,
    expected: tuple[bool, float],
) -> None:
    add_experiment(connection, settings, **({"replay_fidelity": fidelity} if fidelity else {}))
    assert connection.execute(TERMS).fetchall() == [expected]


def test_the_deployment_may_ask_it_of_all_and_what_was_registered_stays_what_it_was(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    add_experiment(connection, settings, "before")
    required = replace(settings, replay_required=True)
    add_experiment(connection, required, "after")
    register(connection, settings, START)
    query = "SELECT experiment_id, replay_required FROM experiments ORDER BY ALL"
    assert connection.execute(query).fetchall() == [("after", True), ("before", False)]


def test_a_plan_that_says_nothing_keeps_the_hash_that_it_had(tmp_path: Path, settings: Settings) -> None:
    with open_warehouse(settings) as connection:
        add_experiment(connection, settings)
    content = (settings.experiments_dir / "exp.yaml").read_bytes()
    silent = parse_plan(content, "exp.yaml")
    asking = parse_plan(
        yaml.safe_dump(yaml.safe_load(content) | {"replay_fidelity": {"require": True}}).encode(), "x"
    )
    assert isinstance(silent, Plan) and isinstance(asking, Plan)
    assert "replay_fidelity" not in silent.frozen
    assert silent.plan_hash != asking.plan_hash


@pytest.mark.parametrize(
    ("fidelity", "key"),
    [
        ({"margin": 0}, "replay_fidelity.margin"),
        ({"margin": -1.0}, "replay_fidelity.margin"),
        ({"must": True}, "must"),
    ],
)
def test_a_margin_is_above_zero_and_unknown_keys_are_refused(
    connection: duckdb.DuckDBPyConnection, settings: Settings, fidelity: dict[str, Any], key: str
) -> None:
    add_experiment(connection, settings)
    content = yaml.safe_load((settings.experiments_dir / "exp.yaml").read_text()) | {
        "replay_fidelity": fidelity
    }
    refused = parse_plan(yaml.safe_dump(content).encode(), "exp.yaml")
    assert isinstance(refused, list) and key in str(refused[0])


def test_in_limited_live_there_is_no_replay_to_ask_for(
    connection: duckdb.DuckDBPyConnection, settings: Settings
) -> None:
    add_experiment(connection, settings)
    content = yaml.safe_load((settings.experiments_dir / "exp.yaml").read_text())
    content |= {"mode": "limited_live", "replay_fidelity": {"require": True}}
    refused = parse_plan(yaml.safe_dump(content).encode(), "exp.yaml")
    assert isinstance(refused, list) and "nothing is replayed" in str(refused[0])


def test_the_setting_takes_two_words() -> None:
    assert Settings.from_env({"ET_REPLAY_FIDELITY": "required"}).replay_required
    assert not Settings.from_env({}).replay_required
    with pytest.raises(SettingsError, match="allowed: optional, required"):
        Settings.from_env({"ET_REPLAY_FIDELITY": "yes"})
