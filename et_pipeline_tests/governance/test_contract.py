"""The bot's contract, and which strategies must pass shadow again when it changes."""

from __future__ import annotations

import json

import pytest

from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.governance import contract as module
from et_pipeline.governance.contract import contract, contract_fingerprint
from et_pipeline.governance.reference import fill_strategy_usage
from et_pipeline_tests.contracts.test_messages import SPECIFIED
from et_pipeline_tests.governance.world import World


def test_reason_codes_are_the_specified_ones(world: World):
    assert [tuple(code) for code in REASON_CODES] == SPECIFIED
    world.tick()
    assert world.connection.execute("SELECT * FROM reason_codes").fetchall() == SPECIFIED


def test_the_fingerprint_is_stable():
    """It may change only together with authority or reason codes; then every strategy passes shadow again."""
    assert contract_fingerprint() == "e7d10e73907fa9c0560ba62a2268c48004825eff8b3ee5e166202c0dbc91950a"


def test_the_contract_is_plain_json_and_complete():
    document = json.loads(json.dumps(contract(), allow_nan=False))
    assert document["id"] == "gov.experimenttracker"
    assert (document["class"], document["authority"]) == ("Governance Service", "Explain")
    assert document["default_mode"] == "shadow_only"
    assert {item["source"] for item in document["inputs"]["internal"]} == {
        "gov.backtester",
        "internal.report_bus",
    }
    assert document["inputs"]["polymarket"] == [], "no market data"
    parameters = {item["name"]: item for item in document["parameters"]}
    split = parameters["traffic_split_pct"]
    assert (split["default"], split["hard_limits"]) == (10.0, {"ge": 0, "le": 100})
    assert "above 50" in split["warning"]
    assert parameters["min_samples_for_decision"]["default"] == 100
    assert (parameters["alpha"]["default"], parameters["time_block"]["default"]) == (0.05, "1h")


def usage(world: World) -> dict[str, tuple]:
    rows = world.connection.execute("SELECT * FROM strategy_usage").fetchall()
    return {row[0]: row[1:] for row in rows}


def test_usage_lists_both_arms_with_state_and_last_message(world):
    world.write_plan(variant={"strategy_id": "strat.wider"})
    world.tick()
    found = usage(world)
    assert set(found) == {"strat.line_shop", "strat.wider"}
    state, last_triggered, fingerprint, again = found["strat.wider"]
    assert (state, last_triggered, again) == ("sampling", world.now.replace(tzinfo=None), False)
    assert fingerprint == contract_fingerprint()


def test_a_changed_contract_makes_strategies_pass_shadow_again(world, monkeypatch: pytest.MonkeyPatch):
    world.write_plan()
    world.tick()
    world.better()
    world.tick(hours=6)
    before = contract_fingerprint()
    monkeypatch.setattr(module, "AUTHORITY", "Block")
    assert contract_fingerprint() != before
    fill_strategy_usage(world.connection)
    assert usage(world)["strat.line_shop"][2:] == (before, True)
    world.write_plan(
        experiment_id="again", variant={"strategy_id": "strat.line_shop", "config_version": "5.0"}
    )
    world.tick()
    assert usage(world)["strat.line_shop"][3], "a new experiment alone passes nothing"
    world.connection.execute("DELETE FROM series_interval_path")
    world.better(5, "again")
    world.tick(hours=1)
    assert usage(world)["strat.line_shop"][3] is False
