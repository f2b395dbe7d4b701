"""Every number on a review page can be found in the published database, in the place that the page names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from et_pipeline.settings import Settings
from et_pipeline_tests.insight.figures import Database, Page, allowed, not_found, numbers

EXPERIMENTS = {
    "line-shop-v4": 140,
    "basket-rebalance-fast": 120,
    "quote-refresh-2s": 100,
    "late-news-filter": 80,
    "live-inventory-skew": 100,
    "passive-exits-v2": 100,
    "wide-split-props": 30,
}
"""Each with a number of figures that its page has at least."""


@pytest.fixture(scope="module")
def pages(sample_run: Path) -> Path:
    return Settings(data_dir=sample_run).pages_dir


@pytest.fixture(scope="module")
def connection(sample_run: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(Settings(data_dir=sample_run).analyst_path), read_only=True) as opened:
        yield opened


def read(pages: Path, name: str) -> Page:
    return Page((pages / f"{name}.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("experiment_id", EXPERIMENTS)
def test_every_number_of_a_page_is_where_the_page_says(
    pages: Path, connection: duckdb.DuckDBPyConnection, experiment_id: str
) -> None:
    page = read(pages, experiment_id)
    assert sum(len(numbers(part.words)) for part in page.parts) >= EXPERIMENTS[experiment_id]
    assert not_found(page, Database(connection, experiment_id)) == []
    people_wrote = connection.execute(
        "SELECT title, hypothesis FROM experiments WHERE experiment_id = ?", [experiment_id]
    ).fetchone()
    assert people_wrote is not None
    assert set(numbers(page.loose.words)) <= set(numbers(people_wrote)), "a figure says where it comes from"


@pytest.mark.parametrize("experiment_id", EXPERIMENTS)
def test_a_figure_with_another_digit_is_noticed(
    pages: Path, connection: duckdb.DuckDBPyConnection, experiment_id: str
) -> None:
    database = Database(connection, experiment_id)
    noticed = []
    for part in read(pages, experiment_id).parts:
        known = allowed(part, database)
        for number in numbers(part.words):
            digits = [at for at, sign in enumerate(number) if sign in "0123456789"]
            if len(digits) < 3:
                continue
            last = digits[-1]
            other = f"{number[:last]}{(int(number[last]) + 1) % 10}{number[last + 1 :]}"
            noticed.append(other not in known)
    assert sum(noticed) >= 0.9 * len(noticed) > 0


def test_every_number_of_the_index_is_where_the_page_says(
    pages: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    index = read(pages, "index")
    about = [name for part in index.parts for name in EXPERIMENTS if name in part.words]
    assert sorted(about) == sorted(EXPERIMENTS)
    for experiment_id, part in zip(about, index.parts, strict=True):
        known = Database(connection, experiment_id).values(index.loose.sources) | ages(
            connection, experiment_id
        )
        assert set(numbers(part.words)) <= known


def ages(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> set[str]:
    """The whole days of an experiment's window, and those that it ran until it was decided or until now."""
    found = connection.execute(
        "SELECT ceil((epoch(ends_at) - epoch(starts_at)) / 86400)::BIGINT, floor((epoch(least(ends_at, "
        "coalesce(decided_as_of, (SELECT max(as_of) FROM intervals)))) - epoch(starts_at)) / 86400)::BIGINT "
        "FROM experiments JOIN verdicts USING (experiment_id) WHERE experiment_id = ?",
        [experiment_id],
    ).fetchone()
    assert found is not None
    return {str(days) for days in found}
