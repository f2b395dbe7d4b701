"""The real `et`: one JSON document with `--json`, exit status 0, 1 or 2, and messages that say what to do.

Each command is run as a process once; other questions to it are asked in the process of the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from et_pipeline.definitions import defs
from et_pipeline.governance.sign_offs import Document, write_sign_off
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT, SAMPLE_PLANS, call_et, run_et

pytestmark = pytest.mark.xdist_group("sample_run")


def document(done: subprocess.CompletedProcess[str]) -> dict:
    """The one document on stdout; stderr is clean."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 1, one message on stderr, no traceback."""
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("et: ") and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture(scope="module")
def again(sample_run: Path) -> subprocess.CompletedProcess[str]:
    """A second `et demo`."""
    return run_et(sample_run, "demo", COLUMNS="200")


def test_demo_prints_a_table_and_where_to_look_next(
    sample_run: Path, again: subprocess.CompletedProcess[str]
) -> None:
    assert again.returncode == 0 and again.stderr == ""
    assert "exist already" in again.stdout and "no message was sent twice" in again.stdout
    assert "\x1b[" not in again.stdout, "no colours outside a terminal"
    for word in (
        "variant_better",
        "variant_worse",
        "equivalent",
        "LARGE_SPLIT_WARN",
        "drift signal",
        "make ui",
    ):
        assert word in again.stdout
    assert str(sample_run / "published" / "experiments.duckdb") in again.stdout


def test_the_readme_shows_what_the_demo_prints(
    sample_run: Path, again: subprocess.CompletedProcess[str]
) -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table = readme.split("```\n")[1].splitlines()
    printed = [line.rstrip() for line in again.stdout.splitlines()]
    assert [line for line in table if line.strip() and line.rstrip() not in printed] == []
    truth = json.loads((sample_run / "truth.json").read_text())
    assert f"generates {truth['totals']['lines']:,} report lines" in readme


def test_tick_that_finds_nothing_new(sample_run: Path) -> None:
    found = document(run_et(sample_run, "tick", "--json"))
    assert (found["due"], found["messages"], found["run_id"]) == (False, 0, None)


def test_tick_brings_back_what_is_gone_and_stands_in_the_history_of_its_job(
    sample_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sample_run, folder)
    gone = [folder / "published" / name for name in ("experiments.duckdb", "pages/line-shop-v4.html")]
    for path in gone:
        path.unlink()
    found = document(call_et(folder, "tick", "--json"))
    assert (found["due"], found["messages"]) == (True, 0)
    assert [path for path in gone if not path.exists()] == []
    assert document(call_et(folder, "tick", "--json"))["due"] is False
    # What the UI asks for when it shows a job's runs.
    (code,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    label = f"{defs.get_repository_def().name}@{code['python_module']['location_name']}"
    with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
        asked = dg.RunsFilter(job_name="tick", tags={".dagster/repository": label})
        assert len(instance.get_runs(asked)) == 2
        everything = dg.RunsFilter(tags={".dagster/repository": label})
        assert len(instance.get_runs(everything)) == len(instance.get_runs(dg.RunsFilter()))
        (newest, _) = instance.get_runs(dg.RunsFilter(job_name="tick"))
    assert newest.run_id == found["run_id"]


def test_metrics_that_a_killed_delivery_left_half_written_are_written_by_the_next_tick(
    sample_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sample_run, folder)
    metrics = folder / "published" / "metrics.prom"
    left = metrics.with_name("metrics.prom.tmp")
    left.write_text("half of it")
    os.utime(metrics, ns=(0, 0))  # it is that of the tick before
    assert document(call_et(folder, "tick", "--json"))["due"] is False
    written = metrics.stat().st_mtime_ns
    assert written > 0
    assert not left.exists()
    call_et(folder, "tick")
    assert metrics.stat().st_mtime_ns == written, "nothing is left to do"


def test_status(sample_run: Path) -> None:
    found = document(run_et(sample_run, "status", "--json"))
    verdicts = {row["experiment_id"]: row["verdict"] for row in found["experiments"]}
    assert verdicts["line-shop-v4"] == "variant_better"
    assert verdicts["basket-rebalance-fast"] == "variant_worse"
    young = next(row for row in found["experiments"] if row["experiment_id"] == "late-news-filter")
    assert "of the 500 pairs required (completed blocks only)" in young["next_step"]


def test_status_of_those_that_somebody_asks_for(sample_run: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        found = document(call_et(sample_run, "status", "--json", *arguments))["experiments"]
        return [row["experiment_id"] for row in found]

    assert ids("--needs-me") == ["line-shop-v4", "wide-split-props"]
    assert ids("--state", "sampling") == ["late-news-filter"]
    assert ids("--state", "sampling", "--state", "awaiting_sign_off") == [
        "late-news-filter",
        "wide-split-props",
    ]
    assert ids("--needs-me", "--owner", "strategy-pod") == ["line-shop-v4"]
    person = call_et(sample_run, "status", "--needs-me")
    assert person.returncode == 0 and "2 of 7 experiments match." in person.stdout
    assert "quote-refresh-2s" not in person.stdout
    refused(call_et(sample_run, "status", "--owner", "nobody"), "'nobody'", "strategy-pod")
    wrong = call_et(sample_run, "status", "--state", "sleeping")
    assert wrong.returncode == 2 and "awaiting_sign_off" in wrong.stderr


def test_show(sample_run: Path) -> None:
    found = document(run_et(sample_run, "show", "line-shop-v4", "--json"))
    assert {row["metric"] for row in found["intervals"]} == {
        "edge_bps",
        "slippage_bps",
        "fill_ratio",
        "latency_ms",
    }
    assert [row["action"] for row in found["audit_log"]][0] == "plan_registered"
    person = call_et(sample_run, "show", "line-shop-v4")
    assert person.returncode == 0 and "The variant is better" in person.stdout
    refused(call_et(sample_run, "show", "nobody"), "'nobody' is not a registered experiment", "line-shop-v4")


def test_validate(sample_run: Path, tmp_path: Path) -> None:
    plans = document(run_et(sample_run, "validate", str(SAMPLE_PLANS), "--json"))
    assert [row["valid"] for row in plans["results"]] == [True] * 7
    bad = tmp_path / "bad.yaml"
    bad.write_text((SAMPLE_PLANS / "line-shop-v4.yaml").read_text().replace("alpha: 0.05", "alpha: 5"))
    done = call_et(sample_run, "validate", str(bad))
    assert done.returncode == 1 and "alpha" in done.stdout and "0.2" in done.stdout
    snapshot = next((sample_run / "report_bus").glob("*.ndjson"))
    found = json.loads(call_et(sample_run, "validate", str(snapshot), "--json").stdout)["results"][0]
    assert found["lines"] == found["reports"] + sum(found["skipped"].values()) + found["quarantined"]
    assert call_et(sample_run, "validate", str(tmp_path / "absent")).returncode == 2


def test_spec_is_the_contract(sample_run: Path) -> None:
    text = json.dumps(document(run_et(sample_run, "spec")))
    for word in (
        "gov.experimenttracker",
        "Governance Service",
        "shadow_only",
        "EXPERIMENT_STALLED",
        "Explain",
    ):
        assert word in text


def test_audit_outbox_and_rebuild(sample_run: Path) -> None:
    assert document(run_et(sample_run, "audit", "verify", "--json"))["intact"] is True
    listed = document(run_et(sample_run, "outbox", "list", "--json"))
    assert listed["dead_letters"] == []
    assert sum(found["delivered"] for found in listed["destinations"].values()) == len(
        list((sample_run / "outbox").glob("*.json"))
    )
    rebuilt = document(call_et(sample_run, "rebuild", "--check", "--json"))
    assert rebuilt["equal"] is True, rebuilt
    refused(call_et(sample_run, "outbox", "redeliver", "0" * 32), "et outbox list")


def test_plan_sizes_from_what_was_measured(sample_run: Path) -> None:
    path = str(SAMPLE_PLANS / "line-shop-v4.yaml")
    found = document(run_et(sample_run, "plan", path, "--uplift", "2", "--like", "line-shop-v4", "--json"))
    assert 100 < found["pairs_needed"] < 6_000
    assert found["smallest_uplift"] > 0
    refused(call_et(sample_run, "plan", path, "--uplift", "2"), "--sd", "--like")


def test_sign_off_by_a_stranger_is_not_written_and_does_not_count_where_it_was_made_by_hand(
    sample_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(sample_run, folder)
    key = tmp_path / "mallory"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "allowed_signers").write_text("")
    arguments = ("--signer", "mallory", "--key", str(key), "--reason", "trust me", "--json")
    refused(
        call_et(folder, "sign-off", "line-shop-v4", "approve", *arguments),
        "nothing was written",
        "The key is not in allowed_signers.",
    )
    assert not list((folder / "sign_offs").glob("*.json"))
    row = document(call_et(folder, "show", "line-shop-v4", "--json"))
    by_hand = Document(
        experiment_id="line-shop-v4",
        plan_hash=row["plan_hash"],
        evidence_hash=row["evidence_hash"],
        purpose="promotion",
        decision="approve",
        reason="trust me",
        signer="mallory",
        signed_at=datetime.now(UTC),
    )
    write_sign_off(Settings(data_dir=folder), by_hand, key)
    assert call_et(folder, "tick").returncode == 0
    found = document(call_et(folder, "show", "line-shop-v4", "--json"))
    assert found["state"] == "promotion_review"
    assert [row["valid"] for row in found["sign_offs"]] == [False]
    assert found["review"] == "Waits for a review: 0 of 1 approval"
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (folder / "allowed_signers").write_text(f"mallory {public}\n")
    written = document(run_et(folder, "sign-off", "line-shop-v4", "approve", *arguments))
    assert written["purpose"] == "promotion"
    refused(
        call_et(folder, "sign-off", "line-shop-v4", "approve", "--signer", "mallory"),
        "missing: --key, --reason",
    )
    assert call_et(folder, "tick").returncode == 0
    found = document(call_et(folder, "show", "line-shop-v4", "--json"))
    assert (found["state"], found["review"]) == ("signed_off", "Approved by humans: 1 of 1 approval")
    page = (folder / "published" / "pages" / "line-shop-v4.html").read_text()
    assert "Approved by humans: 1 of 1 approval" in page
    assert (
        "Approved by humans: 1 of 1 approval" in (folder / "published" / "pages" / "index.html").read_text()
    )
    refused(
        call_et(folder, "sign-off", "quote-refresh-2s", "approve", *arguments), "nothing waits for a sign-off"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("show", "x"),
        ("audit", "verify"),
        ("rebuild", "--check"),
        ("sign-off", "x", "approve", "--signer", "a", "--key", "README.md", "--reason", "r"),
    ],
)
def test_before_the_first_tick_there_is_advice(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused(call_et(tmp_path, *arguments), "et tick")


def test_wrong_settings_and_wrong_usage(tmp_path: Path) -> None:
    refused(call_et(tmp_path, "tick", ET_MODE="prod"), "ET_MODE", "'prod'", "shadow_only")
    refused(call_et(tmp_path, "tick", ET_NOW="yesterday"), "ET_NOW", "ISO-8601")
    refused(call_et(tmp_path / "absent", "tick"), "absent", "ET_DATA_DIR")
    assert run_et(tmp_path, "tick", "--never").returncode == 2
    assert call_et(tmp_path, "sign-off", "x").returncode == 2
    refused(call_et(tmp_path, "bus", "snapshot"), "ET_NATS_URL")


def test_generate_then_tick_finds_the_stated_truth(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    truth = document(
        run_et(
            tmp_path,
            "generate",
            str(folder),
            "--uplift",
            "edge_bps=4",
            "--opportunities",
            "1000",
            "--broken",
            "1",
            "--json",
        )
    )
    assert truth["experiments"]["generated-1"]["uplift"]["edge_bps"] == 4
    assert document(run_et(folder, "tick", "--json"))["due"] is True
    found = document(call_et(folder, "status", "--json"))["experiments"][0]
    assert found["ci_lower"] <= 4 <= found["ci_upper"]
    refused(call_et(tmp_path, "generate", str(folder), "--uplift", "edge_bps"), "metric=number")


def test_plan_of_limited_live_tells_what_a_small_split_costs(tmp_path: Path) -> None:
    call_et(
        tmp_path, "generate", str(tmp_path), "--matching", "arms", "--opportunities", "50", "--markets", "5"
    )
    path = str(tmp_path / "experiments" / "generated-1.yaml")
    guesses = ["--sd=20", "--within-market=0.02", "--within-block=0", "--pairs-per-block=3", "--markets=60"]
    found = document(call_et(tmp_path, "plan", path, "--uplift=2", *guesses, "--json"))
    splits = found["splits"]
    assert [row["split_pct"] for row in splits] == [5, 10, 25, 50]
    days = [row["days_needed"] for row in splits]
    assert days == sorted(days, reverse=True) and days[0] > 2.5 * days[3]
    assert splits[1]["days_needed"] == pytest.approx(found["days_needed"])
    for row in splits:
        share = row["variant_trades"] / (row["control_trades"] + row["variant_trades"])
        assert share == pytest.approx(row["split_pct"] / 100)
    printed = call_et(tmp_path, "plan", path, "--uplift=2", *guesses).stdout
    assert "trades of the smaller arm" in printed and " pairs" not in printed.replace("pairs_per_block", "")
    assert "5 %" in printed and "days  (" in printed
