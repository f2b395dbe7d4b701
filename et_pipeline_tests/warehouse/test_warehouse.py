"""The warehouse: one writer at a time, migrated to the newest schema, never opened by a program that is too old."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from dataclasses import replace

import duckdb
import pytest

from et_pipeline.settings import Settings
from et_pipeline.warehouse import connection as warehouse
from et_pipeline.warehouse.connection import (
    WarehouseError,
    checkpointed,
    locked,
    migrate,
    migrations,
    open_warehouse,
    transaction,
)
from et_pipeline_tests.ingest import lab

NEWEST = migrations()[-1][0]


@pytest.fixture
def settings(new_settings: Settings) -> Settings:
    """Each of these tests makes its own warehouse."""
    return new_settings


def schema(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    return connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
    ).fetchall()


def test_a_new_warehouse_has_the_newest_schema(settings: Settings):
    with open_warehouse(settings) as connection:
        applied = connection.execute("SELECT version FROM schema_version ORDER BY version").fetchall()
    assert applied == [(number,) for number, _ in migrations()]


def test_migrations_are_numbered_without_gaps():
    assert [number for number, _ in migrations()] == list(range(1, NEWEST + 1))


def test_opening_again_applies_nothing_and_keeps_the_rows(settings: Settings):
    with open_warehouse(settings) as connection:
        connection.execute("INSERT INTO stale_paths VALUES ('kept', '2026-10-01')")
        applied = connection.execute("SELECT * FROM schema_version ORDER BY 1").fetchall()
    with open_warehouse(settings) as connection:
        assert connection.execute("SELECT experiment_id FROM stale_paths").fetchall() == [("kept",)]
        assert connection.execute("SELECT * FROM schema_version ORDER BY 1").fetchall() == applied


def test_a_warehouse_of_any_version_is_brought_forward_and_keeps_its_rows(monkeypatch: pytest.MonkeyPatch):
    """One that goes through all versions, each with its own program, has the same schema as one that is new."""
    steps = migrations()
    with duckdb.connect() as new, duckdb.connect() as old:
        migrate(new)
        for present in range(1, NEWEST + 1):
            monkeypatch.setattr(warehouse, "migrations", lambda until=present: steps[:until])
            assert migrate(old) == present
            old.execute("INSERT INTO stale_paths VALUES (?, '2026-10-01')", [str(present)])
        found = old.execute(
            "SELECT experiment_id FROM stale_paths ORDER BY experiment_id::INTEGER"
        ).fetchall()
        assert found == [(str(present),) for present in range(1, NEWEST + 1)]
        assert schema(old) == schema(new)


def test_snapshots_whose_reports_may_have_lost_their_order_are_read_once_more(
    settings: Settings,
):
    """Until the digits below the microsecond were kept, the greater report_id decided between such reports."""
    for name, fraction in (("z", "000000"), ("y", "0000009"), ("x", "000001")):
        document = lab.report(name, correlation_id="o", emitted_at=f"2026-11-01T12:00:00.{fraction}Z")
        lab.write(settings.report_bus_dir / f"{name}.ndjson", lab.ndjson([document]))
    lab.run(settings)
    with open_warehouse(settings) as connection:
        connection.execute(
            "INSERT INTO unmatched BY NAME SELECT 'exp' AS experiment_id, 'control' AS arm, "
            "'superseded' AS reason, report_id, emitted_at, emitted_at AS block, market_id, outcome_id, side, "
            "correlation_id, opportunity_key FROM reports"
        )
        for table in ("reports", "early_reports"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN emitted_below_us")
        [text] = [text for _, text in migrations() if "ADD COLUMN emitted_below_us" in text]
        connection.execute(text)
    result = lab.run(settings)
    assert (result.files, result.changed, result.duplicates, result.displaced) == (2, 0, 1, 0)
    order = "SELECT report_id, emitted_below_us FROM reports ORDER BY emitted_at, emitted_below_us"
    assert lab.rows(settings, order) == [("z", 0), ("y", 900_000), ("x", 0)]


def test_a_migration_that_fails_leaves_the_step_before(monkeypatch: pytest.MonkeyPatch):
    steps = migrations()
    broken = (NEWEST + 1, "CREATE TABLE half (x INTEGER); SELECT * FROM nowhere_to_be_found")
    with duckdb.connect() as connection:
        migrate(connection)
        monkeypatch.setattr(warehouse, "migrations", lambda: [*steps, broken])
        with pytest.raises(duckdb.CatalogException):
            migrate(connection)
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (NEWEST,)
        assert "half" not in {row[0] for row in schema(connection)}, "all of a step or nothing"


def test_a_newer_warehouse_is_refused_and_left_alone(settings: Settings):
    with open_warehouse(settings) as connection:
        connection.execute("INSERT INTO schema_version VALUES (?, now()::TIMESTAMP)", [NEWEST + 1])
    with (
        pytest.raises(
            WarehouseError, match=f"version {NEWEST + 1}.*knows versions up to {NEWEST}.*install the newer"
        ),
        open_warehouse(settings),
    ):
        pytest.fail("it must not open")
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (NEWEST + 1,)


def test_a_file_that_is_no_database_is_named(settings: Settings):
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"not a database " * 1000)
    with pytest.raises(WarehouseError, match=r"warehouse\.duckdb cannot be opened"), open_warehouse(settings):
        pytest.fail("it must not open")
    assert settings.warehouse_path.read_bytes() == b"not a database " * 1000


@pytest.mark.parametrize("share", [0.02, 0.6])
def test_a_file_that_lost_its_end_is_named_and_left_alone(settings: Settings, share: float):
    with open_warehouse(settings) as connection:
        connection.execute("INSERT INTO stale_paths SELECT hash(i), '2026-10-01' FROM range(200_000) t(i)")
    everything = "SELECT count(DISTINCT experiment_id) FROM stale_paths"
    whole = settings.warehouse_path.read_bytes()
    rest = whole[: int(len(whole) * share)]
    settings.warehouse_path.write_bytes(rest)
    with pytest.raises(WarehouseError, match="et restore"), open_warehouse(settings) as connection:
        connection.execute(everything)
    assert settings.warehouse_path.read_bytes() == rest
    settings.warehouse_path.write_bytes(whole)
    with open_warehouse(settings) as connection:
        assert connection.execute(everything).fetchone() == (200_000,)


HOLD = """
import sys, time
from pathlib import Path
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
with open_warehouse(Settings(data_dir=Path(sys.argv[1]))) as connection:
    connection.execute("BEGIN TRANSACTION")
    connection.execute("INSERT INTO stale_paths VALUES ('half', '2026-10-01')")
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder(settings: Settings):
    """Another process that holds the warehouse in the middle of a transaction."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(settings.data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_waited_for_then_named(settings: Settings, holder: subprocess.Popen[str]):
    patient = replace(settings, lock_timeout_s=0.3)
    with (
        pytest.raises(WarehouseError, match=r"in use by another.*0\.3 s.*ET_LOCK_TIMEOUT"),
        open_warehouse(patient),
    ):
        pytest.fail("it must not open")


def test_a_killed_writer_blocks_nobody_and_leaves_nothing_half_done(
    settings: Settings, holder: subprocess.Popen[str]
):
    holder.kill()
    holder.wait()
    with open_warehouse(replace(settings, lock_timeout_s=5)) as connection:
        assert connection.execute("SELECT * FROM stale_paths").fetchall() == []


def test_who_waits_gets_in_when_the_other_ends(settings: Settings, holder: subprocess.Popen[str]):
    threading.Timer(0.5, holder.kill).start()
    with open_warehouse(replace(settings, lock_timeout_s=30)) as connection:
        assert connection.execute("SELECT count(*) FROM stale_paths").fetchone() == (0,)


def test_a_transaction_is_all_or_nothing(settings: Settings):
    with open_warehouse(settings) as connection:
        with pytest.raises(ZeroDivisionError), transaction(connection):
            connection.execute("INSERT INTO stale_paths VALUES ('x', '2026-10-01')")
            raise ZeroDivisionError
        assert connection.execute("SELECT * FROM stale_paths").fetchall() == []
        with transaction(connection):
            connection.execute("INSERT INTO stale_paths VALUES ('x', '2026-10-01')")
        assert connection.execute("SELECT count(*) FROM stale_paths").fetchone() == (1,)


def test_a_disk_that_was_full_at_a_commit_leaves_a_warehouse_that_opens_again(settings: Settings):
    with open_warehouse(settings):
        pass
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (settings.warehouse_path.stat().st_size + 300_000, limits[1]))
    try:
        with (
            pytest.raises(duckdb.Error, match="File too large"),
            open_warehouse(settings) as connection,
            transaction(connection),
        ):
            connection.execute(
                "INSERT INTO stale_paths SELECT hash(i), '2026-10-01' FROM range(300_000) t(i)"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    for rows in (0, 1):
        with open_warehouse(settings) as connection:
            assert connection.execute("SELECT count(*) FROM stale_paths").fetchone() == (rows,)
            connection.execute("INSERT INTO stale_paths VALUES ('x', '2026-10-01')")


DIES_AFTER_A_COMMIT = """
import os, signal, sys
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
with open_warehouse(Settings.from_env()) as connection:
    connection.execute("INSERT INTO stale_paths VALUES ('lost', '2026-10-02')")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("share", [0.02, 0.6, 0.999])
def test_the_rest_of_a_log_that_was_cut_off_does_not_stay(settings: Settings, share: float):
    with open_warehouse(settings) as connection:
        connection.execute("INSERT INTO stale_paths VALUES ('kept', '2026-10-01')")
    environment = {**os.environ, "ET_DATA_DIR": str(settings.data_dir)}
    subprocess.run([sys.executable, "-c", DIES_AFTER_A_COMMIT], env=environment, check=False)
    log = settings.warehouse_path.with_name(f"{settings.warehouse_path.name}.wal")
    os.truncate(log, int(log.stat().st_size * share))
    with locked(settings) as path:
        checkpointed(settings, path)
    assert not log.exists()
    with open_warehouse(settings) as connection:
        assert connection.execute("SELECT experiment_id FROM stale_paths").fetchall() == [("kept",)]
