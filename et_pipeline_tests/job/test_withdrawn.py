"""A verdict that later replays withdraw is shown everywhere, and does not stop any experiment."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.job.test_outages_and_sign_offs import add_plan

FIRST = datetime(2026, 10, 1, 0, 10, tzinfo=UTC)


def replay(name: str, number: int, at: datetime, edge: float, run: str = "") -> dict[str, Any]:
    """One report of the variant; a later `run` of the backtester replays the same opportunity again."""
    return report(name, number, at, edge) | {
        "report_id": f"{name}-{number}-variant{run}",
        "bot_id": "gov.backtester",
        "mode": "replay",
        "config_version": "2",
    }


def report(name: str, number: int, at: datetime, edge: float) -> dict[str, Any]:
    """One live report of the control."""
    return {
        "schema_version": "1.0",
        "report_id": f"{name}-{number}-control",
        "kind": "OperationsReport",
        "bot_id": "strat.live",
        "strategy_id": f"strat.{name}",
        "mode": "live",
        "correlation_id": f"{name}-{number}",
        "market_id": f"market-{number % 30}",
        "outcome_id": "YES",
        "side": "BUY",
        "emitted_at": at.isoformat(),
        "config_version": "1",
        "metrics": {"edge_bps": round(edge, 3)},
    }


def write(folder: Path, name: str, reports: list[dict[str, Any]]) -> None:
    (folder / name).write_text("".join(json.dumps(item) + "\n" for item in reports), encoding="utf-8")


def et(world: World, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command prints; it must answer."""
    monkeypatch.setenv("ET_DATA_DIR", str(world.folder))
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_withdrawn_verdict_is_a_state_as_any_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rerun", "neighbour"):
        add_plan(world, name)
    bus, numbers = world.settings.report_bus_dir, random.Random(9)
    moments = [FIRST + timedelta(minutes=5 * number) for number in range(900)]
    edges = [numbers.gauss(10, 12) for _ in moments]
    for name, seen in (("rerun", 900), ("neighbour", 300)):
        rows = list(zip(moments, edges, strict=True))[:seen]
        write(bus, f"{name}.ndjson", [report(name, i, at, edge) for i, (at, edge) in enumerate(rows)])
        better = [replay(name, i, at, edge + numbers.gauss(4, 6)) for i, (at, edge) in enumerate(rows)]
        write(bus, f"{name}-replay.ndjson", better)
    world.environment["ET_NOW"] = "2026-10-05T00:00:00Z"
    assert world.tick().success
    assert ("rerun", "variant_better") in world.rows("SELECT experiment_id, verdict FROM verdicts")

    later = datetime(2026, 10, 5, 2, tzinfo=UTC)
    again = [
        replay("rerun", i, later, edge + numbers.gauss(0.8, 18), "-again") for i, edge in enumerate(edges)
    ]
    write(bus, "rerun-again.ndjson", again)
    more = [(i, at, edge) for i, (at, edge) in enumerate(zip(moments, edges, strict=True)) if i >= 300]
    write(bus, "neighbour-more.ndjson", [report("neighbour", *row) for row in more])
    write(bus, "neighbour-more-replay.ndjson", [replay("neighbour", i, at, e + 3) for i, at, e in more])
    world.environment["ET_NOW"] = "2026-10-06T00:00:00Z"
    second = world.tick()
    assert second.success
    assert "announced_verdict_follows" in world.failed_checks(second)
    assert world.run("publish").success
    assert world.rows(
        "SELECT state, verdict, reason, contradicted, announced_verdict FROM verdicts "
        "WHERE experiment_id = 'rerun'"
    ) == [("concluded", None, "verdict_withdrawn", True, "variant_better")]
    waiting = "SELECT event_id FROM events ANTI JOIN deliveries USING (event_id)"
    assert world.rows(waiting) == [], "every message is delivered, the neighbour's among them"
    assert {
        row[0] for row in world.rows("SELECT experiment_id FROM events WHERE reason_code LIKE '%RESULT'")
    } == {
        "rerun",
        "neighbour",
    }

    assert "verdict_withdrawn" in et(world, monkeypatch, "status")
    assert "no longer follows" in et(world, monkeypatch, "show", "rerun")
    (row,) = [
        row
        for row in json.loads(et(world, monkeypatch, "status", "--json"))["experiments"]
        if row["experiment_id"] == "rerun"
    ]
    assert (row["reason"], row["verdict"], row["contradicted"]) == ("verdict_withdrawn", None, True)
    assert "find out what changed" in row["next_step"]
    pages = world.settings.pages_dir
    for page in ("rerun", "index"):
        assert "Verdict withdrawn" in (pages / f"{page}.html").read_text(encoding="utf-8")
    world.environment["ET_NOW"] = "2026-10-07T00:00:00Z"
    assert world.tick().success, "a tick after it"
