"""A data folder that goes through three stages, each of them one tick, with the files that people and other programs
add."""

from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path

import dagster as dg
import duckdb

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline.generator import write_snapshots
from et_pipeline.governance.sign_offs import Document, write_sign_off
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.job.test_outages_and_sign_offs import scenario

PLAN = """\
experiment_id: {name}
title: Crash test
hypothesis: What is known after a crash is what would be known without it.
owner: desk
mode: shadow
control: {{strategy_id: strat.{name}, config_version: "1"}}
variant: {{strategy_id: strat.{name}, config_version: "2"}}
planned_pairs: 600
starts_at: 2026-10-01T00:00:00Z
ends_at: 2026-10-15T00:00:00Z
metrics:
  - {{name: edge_bps, role: primary, equivalence_margin: 0.5}}
promotion: {{request_review: true, approvers: 1}}
"""
STAGES = ("first reports", "verdicts", "late reports and a sign-off")
"""What a data folder goes through; each stage is one tick."""
CLOCK = ("2026-10-06T12:00:00Z", "2026-10-20T00:00:00Z", "2026-10-21T09:00:00Z")
FILES = 6
MARKETS = 40
QUIET_DAGSTER = """
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""
"""Dagster captures what each step prints with four helper processes: most of the time of a tick this small."""


def environment(data: Path, stage: int, registry: str) -> dict[str, str]:
    """The settings of a stage's tick."""
    return {
        "ET_DATA_DIR": str(data),
        "ET_NOW": CLOCK[stage],
        "ET_REGISTRY_URL": registry,
        "ET_LOCK_TIMEOUT": "20",
    }


def set_up(data: Path) -> None:
    """The plans, and keys for whoever signs; the folders that people make; an empty Dagster home."""
    for name in ("experiments", "report_bus", "sign_offs"):
        (data / name).mkdir(parents=True)
    for plan, text in _plans():
        (data / "experiments" / f"{plan.experiment_id}.yaml").write_text(text, encoding="utf-8")
    home = data / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text(encoding="utf-8") + QUIET_DAGSTER)
    with dg.DagsterInstance.from_config(str(home)):
        pass  # its databases are made
    key = _key(data)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    (data / "allowed_signers").write_text(f"alice {public}", encoding="utf-8")


def bring_inputs(data: Path, stage: int) -> None:
    """What a stage's tick finds new."""
    bus = data / "report_bus"
    better, worse = (plan for plan, _ in _plans())
    early, late = range(2), range(2, FILES)
    facts = {"late_share": 0.1, "duplicate_share": 0.05, "superseded_share": 0.05}
    scenarios = [
        scenario(better, 600, markets=MARKETS, uplift={"edge_bps": 8.0}, **facts),
        scenario(worse, 600, markets=MARKETS, uplift={"edge_bps": -8.0}, **facts),
    ]
    if stage < 2:
        chosen = (early, late)[stage]
        write_snapshots(scenarios, bus, seed=3, files=FILES, broken=1, skipped=8, only=chosen)
        return
    write_snapshots([scenario(worse, 200, markets=MARKETS, uplift={"edge_bps": -8.0})], bus / "late", seed=4)
    _sign(data, better)


def _plans() -> list[tuple[Plan, str]]:
    found = []
    for name in ("better", "worse"):
        text = PLAN.format(name=name)
        plan = parse_plan(text.encode(), name)
        assert isinstance(plan, Plan)
        found.append((plan, text))
    return found


def _key(data: Path) -> Path:
    return data.with_name(f"{data.name}-alice")


def _sign(data: Path, plan: Plan) -> None:
    """Alice approves the promotion of an experiment, by the evidence that was announced."""
    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        row = connection.execute(
            "SELECT evidence_hash FROM verdicts WHERE experiment_id = ? AND state = 'promotion_review'",
            [plan.experiment_id],
        ).fetchone()
    assert row is not None, f"{plan.experiment_id} waits for no review"
    document = Document(
        experiment_id=plan.experiment_id,
        plan_hash=plan.plan_hash,
        evidence_hash=row[0],
        purpose="promotion",
        decision="approve",
        reason="Seen.",
        signer="alice",
        signed_at=datetime.fromisoformat(CLOCK[2]),
    )
    write_sign_off(Settings(data_dir=data), document, _key(data))
