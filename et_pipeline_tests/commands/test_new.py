"""`et new`, and the warnings of `et validate` about dates and folders."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from et_pipeline.contracts.plan import Plan, parse_plan
from et_pipeline_tests.conftest import call_et, run_et

NOW = "2026-11-26T13:00:00Z"
OPTIONS = [
    *("--title", "Wider: quotes", "--hypothesis", "It is # better", "--owner", "no"),
    *("--control", "strat.a@3.10", "--variant", "strat.a@4.0"),
]


def written(folder: Path, name: str) -> Plan:
    outcome = parse_plan((folder / "experiments" / f"{name}.yaml").read_bytes(), name)
    assert isinstance(outcome, Plan), outcome
    return outcome


def test_options_make_a_plan_that_is_valid_and_lies_ahead(tmp_path: Path) -> None:
    done = run_et(
        tmp_path, "new", "line-v5", *OPTIONS, "--guardrail", "slippage_bps=1.0", "--days", "7", ET_NOW=NOW
    )
    assert (done.returncode, done.stderr) == (0, "")
    plan = written(tmp_path, "line-v5")
    assert (plan.title, plan.hypothesis, plan.owner) == ("Wider: quotes", "It is # better", "no")
    assert (plan.control.config_version, plan.variant.config_version) == ("3.10", "4.0")
    assert plan.starts_at == datetime(2026, 11, 28, tzinfo=UTC)
    assert plan.ends_at == datetime(2026, 12, 5, tzinfo=UTC)
    assert [metric.name for metric in plan.guardrails] == ["slippage_bps"]
    again = call_et(tmp_path, "new", "line-v5", *OPTIONS)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    valid = call_et(tmp_path, "validate", str(tmp_path / "experiments"), "--json", ET_NOW=NOW)
    assert json.loads(valid.stdout)["results"][0]["warnings"] == []


def test_a_limited_live_plan_is_valid_too(tmp_path: Path) -> None:
    assert call_et(tmp_path, "new", "live", *OPTIONS, "--live").returncode == 0
    assert written(tmp_path, "live").matching.method == "arms"


def test_what_is_missing_or_not_allowed_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    done = call_et(tmp_path, "new", "line-v5", "--title", "x")
    assert done.returncode == 1
    assert "missing: --hypothesis, --owner, --control, --variant" in done.stderr
    for options, named in (
        (["--equivalence", "two"], "equivalence_margin: allowed: a number"),
        (["--guardrail", "slippage_bps"], "slippage_bps=1.0"),
        (["--primary", "edgy"], "allowed: edge_bps"),
    ):
        done = call_et(tmp_path, "new", "line-v5", *OPTIONS, *options)
        assert done.returncode == 1 and named in done.stderr, done.stderr
    assert call_et(tmp_path, "new", "../line", *OPTIONS).returncode == 1
    assert not list(tmp_path.rglob("*.yaml"))


def test_in_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "ET_DATA_DIR": str(tmp_path), "ET_NOW": NOW, "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "new"],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, b"asked\nA title\nIt is better\nolga\nstrat.a@1\nstrat.a@2\n\n\n")
    assert process.wait(timeout=120) == 0
    os.close(ours)
    plan = written(tmp_path, "asked")
    assert (plan.owner, plan.primary.name, plan.primary.equivalence_margin) == ("olga", "edge_bps", 2.0)


def test_validate_warns_of_dates_behind_and_refuses_nothing_for_them(tmp_path: Path) -> None:
    call_et(tmp_path, "new", "soon", *OPTIONS, ET_NOW=NOW)
    plan = str(tmp_path / "experiments" / "soon.yaml")
    for now, said in (
        ("2026-11-27T00:00:00Z", ""),
        ("2026-11-29T00:00:00Z", "starts_at"),
        ("2027-06-01T00:00:00Z", "ends_at"),
    ):
        done = call_et(tmp_path, "validate", plan, ET_NOW=now)
        assert done.returncode == 0
        assert ("warning" in done.stdout) == bool(said)
        assert said in done.stdout


def test_validate_says_where_a_plan_or_snapshot_lies_in_the_wrong_folder(tmp_path: Path) -> None:
    call_et(tmp_path, "generate", str(tmp_path), "--opportunities", "50", "--files", "1")
    experiments, reports = tmp_path / "experiments", tmp_path / "report_bus"
    (snapshot,) = reports.iterdir()
    (plan,) = experiments.iterdir()
    snapshot.rename(experiments / snapshot.name)
    plan.rename(reports / plan.name)
    done = call_et(tmp_path, "validate", str(tmp_path), "--json")
    assert done.returncode == 1
    said = {Path(item["path"]).name: item["problems"] for item in json.loads(done.stdout)["results"]}
    assert said[plan.name] == [f"{reports / plan.name}: a plan is not read here; move it to {experiments}"]
    assert said[snapshot.name] == [
        f"{experiments / snapshot.name}: a snapshot is not read here; move it to {reports}"
    ]
    elsewhere = call_et(tmp_path / "other", "validate", str(reports / plan.name))
    assert elsewhere.returncode == 0
