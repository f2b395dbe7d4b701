"""A data folder of the version before the tables became plain assets goes on working.

`data-of-0.1.0.tar.xz` was made by that version: three experiments (one whose plan says `on_no_trade: zero`, one
in limited live), three snapshots, one tick, and its DAGSTER_HOME. `later/` holds the snapshot that came after.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from et_pipeline.cli import app
from et_pipeline_tests.conftest import run_et

pytestmark = pytest.mark.xdist_group("upgrade")
ARCHIVE = Path(__file__).with_name("data-of-0.1.0.tar.xz")
NOW = "2026-10-09T12:00:00Z"
LATER = "2026-10-12T12:00:00Z"
EXPERIMENTS = ("better", "live", "picky")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, after one tick of the present version over the same reports."""
    folder = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    done = run_et(folder, "tick", "--force", ET_NOW=NOW)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def count(folder: Path, table: str) -> dict[str, int]:
    query = f"SELECT experiment_id, count(*) FROM {table} GROUP BY experiment_id"
    with duckdb.connect(str(folder / "published" / "experiments.duckdb"), read_only=True) as connection:
        return dict(connection.execute(query).fetchall())


def test_what_both_arms_reported_is_paired_as_before(data: Path) -> None:
    query = "SELECT experiment_id, count(variant_report_id) FROM pairs GROUP BY experiment_id"
    with tarfile.open(ARCHIVE) as archive:
        archive.extract("./warehouse/warehouse.duckdb", data / "before", filter="data")
    found = []
    for path in ("before/warehouse/warehouse.duckdb", "published/experiments.duckdb"):
        with duckdb.connect(str(data / path), read_only=True) as connection:
            found.append(dict(connection.execute(query).fetchall()))
    assert found[0] == found[1] and set(found[0]) == set(EXPERIMENTS)


def test_its_plans_stay_frozen_under_their_hashes(data: Path) -> None:
    query = "SELECT experiment_id, plan_hash FROM experiments ORDER BY ALL"
    with tarfile.open(ARCHIVE) as archive:
        archive.extract("./warehouse/warehouse.duckdb", data / "hashes", filter="data")
    found = []
    for path in ("hashes/warehouse/warehouse.duckdb", "published/experiments.duckdb"):
        with duckdb.connect(str(data / path), read_only=True) as connection:
            found.append(connection.execute(query).fetchall())
    assert found[0] == found[1]


def test_its_dagster_home_loads_and_its_partitions_stay_readable(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "et_pipeline.operations.launcher" in (data / "dagster" / "dagster.yaml").read_text()
    monkeypatch.setenv("DAGSTER_HOME", str(data / "dagster"))
    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_launcher).__name__ == "CodeServerRunLauncher"
        assert set(instance.get_dynamic_partitions("experiment")) == set(EXPERIMENTS)
        before = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("pairs"), asset_partitions=["better"]), limit=1
        ).records
        assert before[0].asset_materialization.metadata["dagster/partition_row_count"].value == 326
        now = instance.fetch_materializations(dg.AssetKey("experiment"), limit=10).records
        assert {record.partition_key for record in now} == set(EXPERIMENTS)


def test_it_ticks_on_and_a_rebuild_finds_no_difference(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ET_DATA_DIR", str(data))
    monkeypatch.setenv("ET_NOW", LATER)
    monkeypatch.setenv("ET_MODE", "limited_live")
    monkeypatch.setenv("DAGSTER_HOME", str(data / "dagster"))

    def et(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    messages = len(list((data / "outbox").glob("*.json")))
    before = count(data, "pairs")
    shutil.copytree(data / "later", data / "report_bus", dirs_exist_ok=True)
    et("tick")
    after = count(data, "pairs")
    assert all(after[name] > before[name] for name in EXPERIMENTS)
    et("rebuild", "--check")
    et("audit", "verify")
    status = json.loads(et("status", "--json"))
    assert {item["experiment_id"] for item in status["experiments"]} == set(EXPERIMENTS)
    assert len(list((data / "outbox").glob("*.json"))) > messages
