"""Terminals and folders of all kinds: any encoding and any name work, and there is never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from et_pipeline.commands import terminal
from et_pipeline_tests.conftest import call_et

TITLE = "Gr\u00f6\u00dfer als vorher \u2013 \u5e02\u5834"


def et(folder: Path, *arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"ET_DATA_DIR": str(folder), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "et_pipeline", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)


@pytest.fixture
def refused_plan(tmp_path: Path) -> Path:
    """A plan whose refusal quotes letters that few encodings have."""
    folder = tmp_path / "Pl\u00e4ne \u5e02"
    folder.mkdir()
    path = folder / "plan.yaml"
    path.write_text(f"experiment_id: x\ntitel: {TITLE}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_does_not_have_ends_no_command(refused_plan: Path, encoding: str) -> None:
    done = et(refused_plan.parent, "validate", str(refused_plan), encoding=encoding)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert "unknown key" in done.stdout.decode(encoding)
    missing = et(refused_plan.parent, "status", encoding=encoding)
    assert missing.returncode == 1 and b"Traceback" not in missing.stderr
    assert missing.stderr.decode(encoding).startswith("et: ")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_json_document_is_the_same_in_every_encoding(refused_plan: Path, encoding: str) -> None:
    done = et(refused_plan.parent, "validate", str(refused_plan), "--json", encoding=encoding)
    [result] = json.loads(done.stdout.decode("ascii"))["results"]
    assert result["path"] == str(refused_plan)
    assert any(TITLE in problem for problem in result["problems"])


@pytest.mark.parametrize("name", ["what?", "100%25", "a%2Fb"])
def test_a_folder_that_dagster_cannot_use_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    (folder / "experiments").mkdir(parents=True)
    (folder / "report_bus").mkdir()
    done = call_et(folder, "tick")
    assert done.returncode == 1 and done.stderr.startswith("et: ")
    assert name in done.stderr and "give the folder another name" in done.stderr
    assert not (folder / "dagster").exists()


def test_validate_tells_what_a_tick_would_not_read(tmp_path: Path, refused_plan: Path) -> None:
    folder = tmp_path / "experiments"
    (folder / "sub").mkdir(parents=True)
    for name in ("Upper.YAML", "sub/inner.yaml", "a.jsonl", "read.yaml"):
        (folder / name).write_bytes(refused_plan.read_bytes())
    done = call_et(tmp_path, "validate", str(folder), "--json")
    assert done.returncode == 1
    kinds = {Path(item["path"]).name: item["kind"] for item in json.loads(done.stdout)["results"]}
    assert kinds == {"Upper.YAML": "unread", "inner.yaml": "unread", "a.jsonl": "unread", "read.yaml": "plan"}


def test_a_table_that_does_not_fit_is_printed_as_lines_of_name_and_value(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = terminal.table()
    for name in ("experiment", "uplift [interval]", "verdict"):
        table.add_column(name)
    table.add_row("basket-rebalance-fast-with-a-long-name", "-3.28 [-5.55, -1.47] bps", "variant_worse")
    terminal.print_table(Console(width=120), table)
    assert len(capsys.readouterr().out.splitlines()) == 5, "a table with its heading"
    terminal.print_table(Console(width=80), table)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1)[0] for line in lines if line] == ["experiment", "uplift", "verdict"]
    assert all(len(line) <= 80 for line in lines)
    for whole in ("basket-rebalance-fast-with-a-long-name", "-3.28 [-5.55, -1.47] bps"):
        assert any(whole in line for line in lines)


@pytest.mark.parametrize(("version", "told"), [(1, "et tick --force"), (9999, "install the newer version")])
def test_a_database_of_another_version_is_refused_by_name(tmp_path: Path, version: int, told: str) -> None:
    path = tmp_path / "published" / "experiments.duckdb"
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version AS SELECT ? AS version", [version])
    done = call_et(tmp_path, "status")
    assert done.returncode == 1 and done.stderr.startswith("et: ")
    assert str(path) in done.stderr and told in done.stderr
