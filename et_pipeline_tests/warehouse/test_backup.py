"""Backups are tested by restoring them: into an empty folder, over a used one, and killed on the way."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from et_pipeline.generator import write_snapshots
from et_pipeline.settings import Settings
from et_pipeline.warehouse import backup
from et_pipeline.warehouse.backup import MANIFEST, BackupError, back_up, restore
from et_pipeline.warehouse.connection import WarehouseError, migrations, open_warehouse, transaction
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.faults.processes import Nursery
from et_pipeline_tests.faults.stages import QUIET_DAGSTER
from et_pipeline_tests.job.test_outages_and_sign_offs import PLAN, parse_plan, scenario

NOW = "2026-10-20T00:00:00Z"


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a backup or of what a restore puts into its place."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != MANIFEST
    }


@pytest.fixture(scope="module")
def et(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs real commands, forked from a process that has imported Dagster already: what they print."""
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:

        def run(data: Path, *arguments: str) -> str:
            done = nursery.et(*arguments, environment={"ET_DATA_DIR": str(data), "ET_NOW": NOW})
            assert done.status == 0, done.output
            return done.output

        yield run


def history(data: Path) -> list[tuple]:
    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        return connection.execute(
            "SELECT hash FROM audit_log UNION ALL SELECT event_id FROM events ORDER BY 1"
        ).fetchall()


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """A data folder with something in every place, and a warehouse with an audit log."""
    from et_pipeline.warehouse import audit

    put(settings.experiments_dir / "a.yaml", "experiment_id: a")
    put(settings.report_bus_dir / "nats" / "b.ndjson", "{}\n")
    put(settings.report_bus_dir / "half.ndjson.tmp", "{")
    put(settings.sign_offs_dir / "c.json", "{}")
    put(settings.allowed_signers_path, "alice ssh-ed25519 AAAA\n")
    remember(settings, "first")
    with open_warehouse(settings) as connection:
        audit.write_anchor(connection, settings)
    return settings


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def remember(settings: Settings, action: str) -> None:
    from et_pipeline.warehouse import audit

    with open_warehouse(settings) as connection, transaction(connection):
        audit.append(connection, settings.now(), None, action)


def remembered(settings: Settings) -> list[str]:
    with open_warehouse(settings) as connection:
        return [row[0] for row in connection.execute("SELECT action FROM audit_log ORDER BY seq").fetchall()]


def test_a_restored_folder_goes_on_as_if_nothing_had_happened(tmp_path: Path, et: Callable[..., str]):
    data, empty, saved = tmp_path / "data", tmp_path / "empty", tmp_path / "backups" / "monday"
    for folder in (data, empty):
        put(folder / "dagster" / "dagster.yaml", (PROJECT / "dagster.yaml").read_text() + QUIET_DAGSTER)
    put(
        data / "experiments" / "kappa.yaml",
        PLAN.format(name="kappa", split=10, ends_at="2026-10-15T00:00:00Z"),
    )
    plan = parse_plan((data / "experiments" / "kappa.yaml").read_bytes(), "kappa")
    write_snapshots([scenario(plan, uplift={"edge_bps": 8.0})], data / "report_bus", seed=3)
    et(data, "tick")
    before = history(data)
    made = json.loads(et(data, "backup", str(saved), "--json"))
    assert (
        made["reports"]
        and made["files"] == len(content(saved))
        and made["schema_version"] == migrations()[-1][0]
    )

    restored = json.loads(et(empty, "restore", str(saved), "--json"))
    assert restored["replaced"] is None
    assert "intact" in et(empty, "audit", "verify")
    assert json.loads(et(empty, "tick", "--json"))["due"], "what is published has to be made anew"
    assert history(empty) == before, "nothing is told that was told before"

    write_snapshots([scenario(plan, uplift={"edge_bps": -9.0})], data / "report_bus" / "late", seed=4)
    put(
        data / "experiments" / "other.yaml",
        PLAN.format(name="other", split=10, ends_at="2026-12-15T00:00:00Z"),
    )
    et(data, "tick")
    assert history(data) != before
    replaced = Path(json.loads(et(data, "restore", str(saved), "--json"))["replaced"])
    assert (replaced / "experiments" / "other.yaml").exists() and (
        replaced / "warehouse" / "warehouse.duckdb"
    ).exists()
    assert "intact" in et(data, "audit", "verify")
    et(data, "tick")
    assert "differs" not in et(data, "rebuild", "--check")
    assert history(data) == before
    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT experiment_id FROM experiments").fetchall() == [("kappa",)]


def test_a_backup_holds_what_cannot_be_made_again(filled: Settings, tmp_path_factory: pytest.TempPathFactory):
    target = tmp_path_factory.mktemp("backups")
    back_up(filled, target / "all")
    assert set(content(target / "all")) == {
        "warehouse/warehouse.duckdb",
        "warehouse/audit_head",
        "experiments/a.yaml",
        "sign_offs/c.json",
        "allowed_signers",
        "report_bus/nats/b.ndjson",
    }
    back_up(filled, target / "less", reports=False)
    assert "report_bus/nats/b.ndjson" not in content(target / "less")
    assert {path.name for path in target.iterdir()} == {"all", "less"}, "no half of anything lies about"


def test_a_backup_overwrites_nothing_and_stays_out_of_the_data(filled: Settings, tmp_path_factory):
    target = tmp_path_factory.mktemp("backups") / "there"
    put(target / "mine", "precious")
    with pytest.raises(BackupError, match="exists already"):
        back_up(filled, target)
    assert content(target) == {"mine": b"precious"}
    with pytest.raises(BackupError, match="outside"):
        back_up(filled, filled.report_bus_dir / "backup")


def test_a_backup_that_fails_leaves_nothing(
    filled: Settings, tmp_path_factory, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path_factory.mktemp("backups") / "monday"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        back_up(filled, target)
    assert list(target.parent.iterdir()) == []


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def newer(folder: Path) -> None:
    with duckdb.connect(str(folder / "warehouse" / "warehouse.duckdb")) as connection:
        connection.execute("INSERT INTO schema_version VALUES (9999, now()::TIMESTAMP)")
    sign_again(folder)


def forge(folder: Path) -> None:
    with duckdb.connect(str(folder / "warehouse" / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE audit_log SET action = 'other'")
    sign_again(folder)


def sign_again(folder: Path) -> None:
    """The manifest of a forger who knows how manifests are made."""
    import hashlib

    manifest = json.loads((folder / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        entry |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def lead_out(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["experiments/../../evil"] = {"size": 0, "sha256": ""}
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: edit(folder / "experiments" / "a.yaml"),
            r"a\.yaml is not the file that was backed up",
        ),
        (lambda folder: (folder / "sign_offs" / "c.json").unlink(), r"c\.json is missing"),
        (lambda folder: put(folder / "sign_offs" / "d.json", "{}"), r"d\.json is not in the manifest"),
        (lambda folder: (folder / MANIFEST).unlink(), r"is not a backup"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), r"is not a backup"),
        (lead_out, r"no place in a data folder"),
        (newer, r"schema version 9999"),
        (forge, r"audit log .* was changed after it was written: row 1 was edited"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_touched(
    filled: Settings, tmp_path_factory, damage: Callable[[Path], object], message: str
):
    target = tmp_path_factory.mktemp("backups") / "monday"
    back_up(filled, target)
    before = content(filled.data_dir)
    damage(target)
    with pytest.raises(BackupError, match=message):
        restore(filled, target)
    after = {
        name: data for name, data in content(filled.data_dir).items() if not name.startswith(".restoring")
    }
    assert after == before
    assert remembered(filled) == ["first"], "the data folder is still of use"


def test_no_restore_beside_a_run_or_another_writer(filled: Settings, tmp_path_factory):
    target = tmp_path_factory.mktemp("backups") / "monday"
    back_up(filled, target)
    with (filled.warehouse_path.parent / "runs.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # as a run does
        with pytest.raises(WarehouseError, match="a run is in progress"):
            restore(filled, target)
    with open_warehouse(filled), pytest.raises(WarehouseError, match="in use"):
        restore(replace(filled, lock_timeout_s=0.2), target)
    restore(filled, target)


DIES = """
import os, pathlib, signal, sys
from et_pipeline.warehouse.backup import restore
from et_pipeline.settings import Settings
left, moved = int(sys.argv[2]), pathlib.Path.rename

def rename(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return moved(self, target)

pathlib.Path.rename = rename
restore(Settings.from_env(), pathlib.Path(sys.argv[1]))
"""


def killed_restore(settings: Settings, source: Path, at: int) -> bool:
    """Whether a restore died before its `at`th rename; where it has fewer, it is done."""
    process = subprocess.run(
        [sys.executable, "-c", DIES, str(source), str(at)],
        env={**os.environ, "ET_DATA_DIR": str(settings.data_dir)}, cwd=PROJECT, capture_output=True, check=False,
    )  # fmt: skip
    assert process.returncode in (0, -signal.SIGKILL), process.stderr.decode()
    return process.returncode != 0


def test_a_restore_killed_at_any_exchange_blocks_everything_else_and_can_be_finished(
    filled: Settings, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("backups")
    back_up(filled, folder / "monday")
    remember(filled, "second")
    put(filled.experiments_dir / "new.yaml", "experiment_id: new")
    present = folder / "present"
    shutil.copytree(filled.data_dir, present)
    expected = content(folder / "monday")
    at = 0
    while True:
        at += 1
        shutil.rmtree(filled.data_dir)
        shutil.copytree(present, filled.data_dir)
        if not killed_restore(filled, folder / "monday", at):
            break
        with pytest.raises(WarehouseError, match="a restore was interrupted"):
            remembered(filled)
        assert restore(filled, folder / "monday").resumed
        found = content(filled.data_dir)
        kept = {name: data for name, data in found.items() if not name.startswith("replaced-")}
        assert kept == expected
        assert any(name.endswith("experiments/new.yaml") for name in found), "what was replaced is kept"
        assert remembered(filled) == ["first"]
    assert at > 8, "every exchange was one to die at"


def test_another_backup_does_not_finish_what_one_began(filled: Settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backups")
    back_up(filled, folder / "monday")
    remember(filled, "second")
    back_up(filled, folder / "tuesday")
    assert killed_restore(filled, folder / "monday", 3)
    with pytest.raises(BackupError, match="finish that restore first"):
        restore(filled, folder / "tuesday")
    restore(filled, folder / "monday")
    restore(filled, folder / "tuesday")
    assert remembered(filled) == ["first", "second"]
