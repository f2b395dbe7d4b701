"""The event log that keeps its files open: it uses the same files as Dagster's own, even at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dagster as dg

from et_pipeline.defs.operations.event_log import OPEN_FILES, OpenSqliteEventLogStorage

OPEN = """\
event_log_storage:
  module: et_pipeline.defs.operations.event_log
  class: OpenSqliteEventLogStorage
"""
NUMBER = dg.AssetKey("number")


@dg.asset
def number() -> dg.MaterializeResult[None]:
    """An asset with something to show."""
    return dg.MaterializeResult(metadata={"size": 3})


@contextmanager
def instance(home: Path, configuration: str) -> Iterator[dg.DagsterInstance]:
    """The instance of a folder, by a `dagster.yaml` of its own."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(f"telemetry: {{enabled: false}}\n{configuration}", encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as found:
        yield found


def materialize(found: dg.DagsterInstance) -> str:
    """One run; its id."""
    return dg.materialize([number], instance=found).run_id


def events(found: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the log holds about a run."""
    return [event.user_message or str(event.dagster_event) for event in found.all_logs(run_id)]


def test_dagsters_own_storage_and_ours_use_the_same_files_at_the_same_time(tmp_path: Path) -> None:
    with instance(tmp_path, "") as theirs, instance(tmp_path, OPEN) as ours:
        assert isinstance(ours.event_log_storage, OpenSqliteEventLogStorage)
        assert not isinstance(theirs.event_log_storage, OpenSqliteEventLogStorage)
        runs = [materialize(found) for found in (theirs, ours, theirs, ours)]
        for run_id in runs:
            assert events(ours, run_id) == events(theirs, run_id)
            assert len(events(ours, run_id)) > 5
        for found in (theirs, ours):
            told = found.fetch_materializations(NUMBER, limit=10).records
            assert [record.run_id for record in told] == runs[::-1]
        theirs.delete_run(runs[1])
        assert events(ours, runs[1]) == []


def test_a_runs_file_has_the_same_tables_whichever_storage_made_it(tmp_path: Path) -> None:
    with instance(tmp_path, "") as theirs, instance(tmp_path, OPEN) as ours:
        runs = [materialize(found) for found in (theirs, ours)]
    kept = []
    for run_id in runs:
        with closing(sqlite3.connect(tmp_path / "history" / "runs" / f"{run_id}.db")) as file:
            kept.append(
                [
                    file.execute(query).fetchall()
                    for query in (
                        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2",
                        "SELECT * FROM alembic_version",
                        "PRAGMA journal_mode",
                    )
                ]
            )
    assert kept[0] == kept[1]
    assert all(kept[0])


def test_what_was_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    with instance(tmp_path, OPEN) as found:
        run_id = materialize(found)
        told = events(found, run_id)
    with instance(tmp_path, OPEN) as found:
        assert events(found, run_id) == told


def test_files_of_many_runs_do_not_all_stay_open(tmp_path: Path) -> None:
    with instance(tmp_path, OPEN) as found:
        runs = [materialize(found) for _ in range(OPEN_FILES + 4)]
        assert all(events(found, run_id) for run_id in runs)
        open_files = {str(path.resolve()) for path in Path("/proc/self/fd").iterdir()}
        shards = {name for name in open_files if name.startswith(str(tmp_path)) and name.endswith(".db")}
        assert len([name for name in shards if "/history/runs/" in name]) <= OPEN_FILES


def test_a_file_left_half_made_by_a_killed_process_is_made_whole(tmp_path: Path) -> None:
    with instance(tmp_path, OPEN) as found:
        run_id = materialize(found)
        told = events(found, run_id)
        found.event_log_storage.dispose()
        (tmp_path / "history" / "runs" / f"{'0' * 8}.db").touch()
        assert events(found, "0" * 8) == []
        assert events(found, run_id) == told


def test_threads_write_at_the_same_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        found = stack.enter_context(instance(tmp_path, OPEN))
        pool = stack.enter_context(ThreadPoolExecutor(4))
        told = [dg.AssetMaterialization(NUMBER, metadata={"size": size}) for size in range(20)]
        list(pool.map(found.report_runless_asset_event, told))
        records = found.fetch_materializations(NUMBER, limit=30).records
        sizes = {record.asset_materialization.metadata["size"].value for record in records}  # type: ignore[union-attr]
        assert sizes == set(range(20))


def test_a_wiped_log_is_empty_and_takes_new_events(tmp_path: Path) -> None:
    with instance(tmp_path, OPEN) as found:
        before = materialize(found)
        found.wipe()
        after = materialize(found)
        assert events(found, before) == []
        assert [record.run_id for record in found.fetch_materializations(NUMBER, limit=9).records] == [after]
