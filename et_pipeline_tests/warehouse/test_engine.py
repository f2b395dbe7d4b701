"""Temporary tables are dropped at the end of their scope."""

import duckdb
import pytest

from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine


@pytest.fixture
def engine() -> DuckDBEngine:
    return DuckDBEngine(duckdb.connect())


def temporary(engine: DuckDBEngine) -> set[str]:
    found = engine.rows(
        "SELECT table_name FROM duckdb_tables() WHERE temporary "
        "UNION ALL SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
    )
    return {name for (name,) in found}


def test_what_a_scope_made_ends_with_it(engine: DuckDBEngine) -> None:
    with engine.scope():
        engine.create_temp("numbers", "SELECT 1 AS n")
        with engine.scope():
            engine.create_view("more", "SELECT n + 1 AS n FROM numbers")
            engine.create_temp("numbers", "SELECT n FROM more")
            assert temporary(engine) == {"numbers", "more"}
        assert temporary(engine) == {"numbers"}
        assert engine.rows("SELECT n FROM numbers") == [(2,)]
    assert temporary(engine) == set()


def test_an_error_inside_is_the_one_that_is_raised(engine: DuckDBEngine) -> None:
    with (
        pytest.raises(duckdb.ConversionException, match="one"),
        transaction(engine.connection),
        engine.scope(),
    ):
        engine.create_temp("numbers", "SELECT 1 AS n")
        engine.rows("SELECT 'one'::INTEGER")
    assert temporary(engine) == set()


def test_deleted_rows_are_returned(engine: DuckDBEngine) -> None:
    engine.connection.execute("CREATE TABLE kept AS SELECT unnest([1, 2, 3]) AS n")
    with engine.scope():
        assert engine.delete_returning("deleted", "kept", "n", "n > 1") == 2
        assert engine.rows("SELECT n FROM deleted ORDER BY n") == [(2,), (3,)]
    assert engine.rows("SELECT n FROM kept") == [(1,)]
