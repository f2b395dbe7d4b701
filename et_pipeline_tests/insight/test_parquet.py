from pathlib import Path

import duckdb
import polars as pl
import pytest

from et_pipeline.insight.parquet import write_parquet
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

FILL = """
INSERT INTO unmatched
SELECT 'e', 'control', 'no_partner', 'r' || i, TIMESTAMP '2026-11-01' + INTERVAL (i) HOUR,
       TIMESTAMP '2026-11-01' + INTERVAL (i) HOUR, 'm', 'yes', 'BUY', 'c' || i, i, NULL
FROM range(?, ?) AS t(i)
"""


def fill(settings: Settings, query: str, *parameters: int) -> list[str]:
    with open_warehouse(settings) as connection:
        connection.execute(query, parameters)
    publish_analyst_database(settings)
    return write_parquet(settings).written


def test_only_the_days_that_changed_are_written(settings: Settings) -> None:
    first = fill(settings, FILL, 0, 72)
    assert {f"unmatched/2026-11-0{day}.parquet" for day in (1, 2, 3)} < set(first)
    assert fill(settings, FILL, 72, 80) == ["unmatched/2026-11-04.parquet"]
    assert fill(settings, "UPDATE unmatched SET reason = 'superseded' WHERE report_id = 'r30'") == [
        "unmatched/2026-11-02.parquet"
    ]
    assert fill(settings, "INSERT INTO outages VALUES ('bus', TIMESTAMP '2026-11-01', NULL, 'gone')") == [
        "outages.parquet"
    ]
    assert write_parquet(settings).written == []


def test_a_day_without_rows_any_more_loses_its_file(settings: Settings) -> None:
    fill(settings, FILL, 0, 48)
    assert fill(settings, "DELETE FROM unmatched WHERE emitted_at >= TIMESTAMP '2026-11-02'") == []
    folder = settings.published_dir / "parquet" / "unmatched"
    assert [path.name for path in folder.iterdir()] == ["2026-11-01.parquet"]


def test_other_tools_read_what_the_database_holds(sample_run: Path) -> None:
    settings = Settings(data_dir=sample_run)
    folder = write_parquet(settings).folder
    with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
        for table, files in (("pairs", "pairs/*.parquet"), ("reports", "reports/*.parquet"),
                             ("cells", "cells/*.parquet"), ("intervals", "intervals.parquet")):  # fmt: skip
            expected = pl.DataFrame(connection.sql(f"SELECT * FROM {table} ORDER BY ALL"))
            found = pl.read_parquet(folder / files)
            assert found.sort(found.columns, nulls_last=True).equals(expected), table
    assert not (folder / "stale_cells.parquet").exists()
    assert not list(folder.rglob("*.tmp"))


def test_damaged_notes_are_written_again(settings: Settings) -> None:
    fill(settings, FILL, 0, 24)
    (settings.published_dir / "parquet" / ".written.json").write_text("{")
    assert "unmatched/2026-11-01.parquet" in write_parquet(settings).written
    assert write_parquet(settings).written == []


def test_without_a_published_database_it_says_so(settings: Settings) -> None:
    with pytest.raises(FileNotFoundError, match="published at the end of a tick"):
        write_parquet(settings)
