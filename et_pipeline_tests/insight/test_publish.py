import hashlib
from pathlib import Path

import duckdb
import pytest

from et_pipeline.insight import publish
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import WarehouseError, locked, open_copy, open_warehouse
from et_pipeline_tests.conftest import is_current
from et_pipeline_tests.migrated import put_warehouse

FILL = """
INSERT INTO pairs BY NAME
SELECT 'e' AS experiment_id, TIMESTAMP '2026-11-01' + INTERVAL (i) SECOND AS pair_time,
       time_bucket(INTERVAL 1 HOUR, pair_time) AS block, 'm' || i % 7 AS market_id, 'yes' AS outcome_id,
       'BUY' AS side, 'c' || i AS correlation_id, md5('c' || i) AS control_report_id,
       md5('v' || i) AS variant_report_id, (i * 7919) % 1000 / 7.0 AS edge_bps_uplift,
       hash(i) AS opportunity_key, 1 AS candidates
FROM range(?, ?) AS t(i)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(data_dir=tmp_path, lock_timeout_s=0.2)
    put_warehouse(found)
    return found


def fill(settings: Settings, start: int, stop: int) -> None:
    with open_warehouse(settings) as connection:
        connection.execute(FILL, [start, stop])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        row = connection.execute("SELECT count(*) FROM pairs").fetchone()
    assert row is not None
    return int(row[0])


def test_the_copy_is_the_warehouse_byte_for_byte_whatever_happened_to_it(settings: Settings) -> None:
    fill(settings, 0, 200_000)
    publish_analyst_database(settings)
    steps = [
        "DELETE FROM pairs WHERE market_id = 'm3'",
        "UPDATE pairs SET edge_bps_uplift = -1 WHERE market_id = 'm4'",
        "INSERT INTO outages VALUES ('bus', TIMESTAMP '2026-11-01', NULL, 'folder missing')",
        "ALTER TABLE outages ADD COLUMN another INTEGER",
        "DELETE FROM pairs",
        "INSERT INTO outages VALUES ('bus', TIMESTAMP '2026-11-02', NULL, 'again', 1)",
    ]
    written = []
    for number, step in enumerate(steps):
        with open_warehouse(settings) as connection:
            connection.execute(step)
            if number % 2:
                connection.execute(FILL, [1_000_000 * number, 1_000_000 * number + 50_000])
        assert not is_current(settings)
        publication = publish_analyst_database(settings)
        assert digest(publication.path) == digest(settings.warehouse_path), step
        assert is_current(settings)
        written.append(publication.written / publication.size)
    assert min(written) < 0.6, "some of these steps change a part of the file only"


def test_a_small_change_to_a_large_file_writes_little(settings: Settings) -> None:
    fill(settings, 0, 400_000)
    first = publish_analyst_database(settings)
    fill(settings, 400_000, 400_010)
    publish_analyst_database(settings)
    fill(settings, 400_010, 400_020)
    third = publish_analyst_database(settings)
    assert first.written == first.size
    assert third.written < third.size / 5
    assert digest(third.path) == digest(settings.warehouse_path)


def test_nothing_new_replaces_nothing(settings: Settings) -> None:
    fill(settings, 0, 10)
    path = publish_analyst_database(settings).path
    before = path.stat()
    again = publish_analyst_database(settings)
    assert (again.replaced, again.written) == (False, 0)
    assert path.stat().st_ino == before.st_ino


def test_a_reader_keeps_its_answers_while_the_file_is_replaced(settings: Settings) -> None:
    fill(settings, 0, 100_000)
    path = publish_analyst_database(settings).path
    with duckdb.connect(str(path), read_only=True) as reader:
        for step in range(1, 4):
            fill(settings, step * 100_000, (step + 1) * 100_000)
            publish_analyst_database(settings)
            row = reader.execute("SELECT count(*), sum(hash(control_report_id)) FROM pairs").fetchone()
            assert row is not None
            assert row[0] == 100_000
    assert rows(path) == 400_000


def test_a_crash_half_way_leaves_the_old_database_and_the_next_tick_mends_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(3):
        fill(settings, step * 50_000, (step + 1) * 50_000)
        path = publish_analyst_database(settings).path
    fill(settings, 150_000, 200_000)

    def dies_half_way(source: Path, target: Path, block_size: int) -> int:
        with target.open("r+b") as file:
            file.seek(20_000)
            file.write(b"\0" * 300_000)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "copy_difference", dies_half_way)
        with pytest.raises(OSError, match="power cut"):
            publish_analyst_database(settings)
    assert rows(path) == 150_000
    publish_analyst_database(settings)
    assert digest(path) == digest(settings.warehouse_path)


def test_a_crash_just_before_the_swap_never_touches_what_readers_have_open(settings: Settings) -> None:
    fill(settings, 0, 50_000)
    path = publish_analyst_database(settings).path
    path.with_name(".experiments.spare.duckdb").hardlink_to(path)
    before = path.open("rb")
    content = before.read()
    fill(settings, 50_000, 100_000)
    publish_analyst_database(settings)
    before.seek(0)
    assert before.read() == content
    before.close()
    assert rows(path) == 100_000


def test_a_stale_log_beside_the_database_is_removed_and_the_file_cannot_be_written(
    settings: Settings,
) -> None:
    fill(settings, 0, 10)
    log = settings.published_dir / "experiments.duckdb.wal"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"stale")
    path = publish_analyst_database(settings).path
    assert not log.exists()
    assert path.stat().st_mode & 0o222 == 0
    assert rows(path) == 10


def test_a_warehouse_in_use_is_said_and_nothing_is_published(settings: Settings) -> None:
    fill(settings, 0, 10)
    with locked(settings), pytest.raises(WarehouseError, match="in use by another tick"):
        publish_analyst_database(settings)
    assert not settings.analyst_path.exists()


@pytest.mark.parametrize("torn", [False, True])
def test_a_copy_that_is_replaced_while_it_is_opened_is_opened_again(
    torn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB takes the headers of a file and the blocks of the one that replaced it; that it notices is not certain."""
    target, successor, broken = (tmp_path / name for name in ("published.db", "next.db", "broken.db"))
    for version, path in enumerate((target, successor)):
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"CREATE TABLE t AS SELECT {version} AS version")
    broken.write_bytes(b"x" * 20_000)
    with pytest.raises(duckdb.Error):
        open_copy(broken)
    connect = duckdb.connect

    def replaced(path: str, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        monkeypatch.undo()
        if torn:
            broken.replace(target)
        try:
            return connect(path, read_only=read_only)
        finally:
            successor.replace(target)

    monkeypatch.setattr(duckdb, "connect", replaced)
    with open_copy(target) as connection:
        assert connection.execute("SELECT version FROM t").fetchall() == [(1,)]
