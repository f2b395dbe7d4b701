from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from et_pipeline.insight import glossary
from et_pipeline.insight.dictionary import columns, markdown
from et_pipeline.insight.pages import glossary_page
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse

PAGE = Path(__file__).parents[2] / "docs" / "data-dictionary.md"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_warehouse(Settings(data_dir=tmp_path)) as connection:
        yield connection


def test_every_table_and_column_has_a_comment(warehouse: duckdb.DuckDBPyConnection) -> None:
    found = columns(warehouse)
    assert len(found) > 300
    bare = [
        f"{column.table}.{column.name}" for column in found if not column.comment or not column.table_comment
    ]
    assert bare == [], "add a comment in et_pipeline/warehouse/migrations/"


def test_times_say_that_they_are_utc(warehouse: duckdb.DuckDBPyConnection) -> None:
    times = [column for column in columns(warehouse) if column.type == "TIMESTAMP"]
    assert [f"{c.table}.{c.name}" for c in times if "UTC" not in (c.comment or "")] == []


def test_the_page_is_the_one_the_comments_give(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(warehouse), (
        "write it anew: python -m et_pipeline.insight.dictionary > docs/data-dictionary.md"
    )


def test_a_comment_with_a_bar_does_not_break_the_table() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.execute("COMMENT ON COLUMN t.a IS 'one | two'")
        assert "| `a` | INTEGER | one \\| two |" in markdown(connection)


def test_the_glossary_is_the_one_of_the_pages() -> None:
    written = (PAGE.parent / "glossary.md").read_text(encoding="utf-8")
    assert written == glossary.markdown(), (
        "write it anew: python -m et_pipeline.insight.glossary > docs/glossary.md"
    )
    page = glossary_page()
    assert all(f"<dt>{word}</dt>" in page for word in glossary.TERMS)
    assert list(glossary.TERMS) == sorted(glossary.TERMS, key=str.lower)
