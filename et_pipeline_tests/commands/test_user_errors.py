"""No mistake of a user shows a traceback: one line on stderr names it, the status is 1, and stdout is empty."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.conftest import PROJECT, SAMPLE_PLANS, call_et, run_et

pytestmark = pytest.mark.xdist_group("sample_run")

PLAN = str(SAMPLE_PLANS / "line-shop-v4.yaml")
NOISE = b"no database at all " * 2000


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("et: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A data folder that no tick has seen."""
    for name in ("experiments", "report_bus"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("outbox", "list"),
        ("outbox", "redeliver", "0" * 32),
        ("audit", "verify"),
        ("rebuild", "--check"),
        ("status",),
        ("plan", PLAN, "--uplift", "2", "--like", "line-shop-v4"),
    ],
)
def test_looking_into_a_folder_that_is_not_there_makes_none(tmp_path: Path, arguments: tuple[str, ...]):
    folder = tmp_path / "absent"
    refused(call_et(folder, *arguments), "absent", "et tick")
    assert not folder.exists()


def test_a_file_where_the_data_folder_should_be(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("x")
    refused(call_et(file, "tick"), str(file), "ET_DATA_DIR")
    refused(call_et(file, "demo"), str(file))
    refused(call_et(tmp_path, "generate", str(file)), str(file))


def test_the_demo_adds_nothing_to_the_plans_of_others(empty: Path):
    own = empty / "experiments" / "ours.yaml"
    shutil.copyfile(PLAN, own)
    refused(call_et(empty, "demo"), "contains other plans", "ET_DATA_DIR=demo et demo")
    assert list((empty / "experiments").iterdir()) == [own]


def test_a_folder_where_a_plan_should_be(empty: Path):
    refused(call_et(empty, "plan", str(empty / "experiments"), "--uplift", "2"), "experiments")


def test_a_plan_that_is_no_text(empty: Path):
    bad = empty / "experiments" / "binary.yaml"
    bad.write_bytes(b"\xff\xfe\x00\x01")
    refused(call_et(empty, "plan", str(bad), "--uplift", "2"), "binary.yaml", "not readable as YAML")
    checked = call_et(empty, "validate", str(bad))
    assert (checked.returncode, checked.stderr) == (1, "")
    assert "not readable as YAML" in checked.stdout


@pytest.mark.parametrize(("uplift", "sd", "named"), [("nan", "10", "--uplift"), ("2", "inf", "--sd")])
def test_a_number_that_is_none(empty: Path, uplift: str, sd: str, named: str):
    done = call_et(empty, "plan", PLAN, "--uplift", uplift, "--sd", sd, "--markets", "20")
    refused(done, named, "allowed: finite numbers")


@pytest.mark.parametrize(
    "arguments", [("tick",), ("rebuild", "--check"), ("audit", "verify"), ("outbox", "list")]
)
def test_a_corrupt_warehouse_is_named_and_left_alone(empty: Path, arguments: tuple[str, ...]):
    file = empty / "warehouse" / "warehouse.duckdb"
    file.parent.mkdir()
    file.write_bytes(NOISE)
    refused(call_et(empty, *arguments), "warehouse.duckdb cannot be opened", "backup")
    assert file.read_bytes() == NOISE


def test_a_newer_warehouse_is_refused_by_every_command_that_writes(empty: Path):
    with open_warehouse(Settings(data_dir=empty)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, now()::TIMESTAMP)")
    for arguments in (("tick",), ("audit", "verify")):
        refused(call_et(empty, *arguments), "schema version 9999", "install the newer program")
    with duckdb.connect(str(empty / "warehouse" / "warehouse.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)


@pytest.mark.parametrize("arguments", [("status",), ("show", "line-shop-v4", "--json")])
def test_a_corrupt_analyst_database_is_named_and_a_tick_makes_it_anew(
    empty: Path, arguments: tuple[str, ...]
):
    file = empty / "published" / "experiments.duckdb"
    file.parent.mkdir()
    file.write_bytes(NOISE)
    refused(call_et(empty, *arguments), "experiments.duckdb cannot be opened", "et tick --force")


def test_a_warehouse_in_use_is_waited_for_then_named(empty: Path):
    with open_warehouse(Settings(data_dir=empty)):
        refused(run_et(empty, "audit", "verify", ET_LOCK_TIMEOUT="0.2"), "in use", "ET_LOCK_TIMEOUT")


def test_an_amount_of_memory_that_is_none(empty: Path):
    done = call_et(empty, "outbox", "list", ET_MEMORY_LIMIT="lots")
    refused(done, "ET_MEMORY_LIMIT", "'lots'", "500MB")


def test_a_wrong_key(sample_run: Path, tmp_path: Path):
    folder = tmp_path / "data"
    shutil.copytree(sample_run, folder)
    no_key = tmp_path / "no.key"
    no_key.write_text("not a key")
    decide = ("sign-off", "line-shop-v4", "approve", "--reason", "r")
    refused(
        call_et(folder, *decide, "--signer", "alice", "--key", str(no_key)),
        "ssh-keygen could not sign",
        "no.key",
    )
    refused(call_et(folder, *decide, "--signer", "two words", "--key", str(no_key)), "signer", "'two words'")
    refused(
        call_et(folder, "sign-off", "nobody", *decide[2:], "--signer", "a", "--key", str(no_key)), "'nobody'"
    )
    assert not list((folder / "sign_offs").glob("*")), "nothing half signed is left"
    assert call_et(folder, *decide, "--signer", "a", "--key", str(tmp_path / "absent")).returncode == 2


def test_a_reader_that_goes_away_sees_no_complaint(sample_run: Path):
    """`et show … | head -1`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ET_")}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "et_pipeline", "show", "line-shop-v4", "--json"],
        env={**environment, "ET_DATA_DIR": str(sample_run)},
        cwd=PROJECT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [(), ("sign-off", "--help")])
def test_help_is_plain_outside_a_terminal(empty: Path, arguments: tuple[str, ...]):
    done = run_et(empty, *arguments)
    assert done.returncode in (0, 2)
    assert "Usage" in done.stdout + done.stderr and "\x1b[" not in done.stdout + done.stderr
