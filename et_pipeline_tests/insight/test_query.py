"""Every sample query of `docs/query.md` runs on the published database of the sample run."""

import re
import runpy
from pathlib import Path

import duckdb
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.py"
PAGE = (Path(__file__).parents[2] / "docs" / "query.md").read_text(encoding="utf-8")
QUERIES = dict(
    re.findall(r"^## (.+?)\n(?:(?!^## )[\s\S])*?```sql\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
)
EMPTY = {
    "Does the accounting balance?",
    "Is the error rate kept on each experiment's own data?",
    "Which uplift can we expect from the best variant of a family?",
    "Which blocks lack values, and in which arm?",
    "Who signed what?",
}
"""Questions to which the sample run has no rows to answer."""


@pytest.mark.parametrize("question", QUERIES)
def test_the_query_answers_its_question(sample_run: Path, question: str) -> None:
    with duckdb.connect(str(sample_run / "published" / "experiments.duckdb"), read_only=True) as connection:
        rows = connection.execute(QUERIES[question]).fetchall()
    assert bool(rows) == (question not in EMPTY)


def test_all_queries_of_the_page_are_tested() -> None:
    assert len(QUERIES) == PAGE.count("```sql") >= 14


def test_the_mean_of_the_pairs_is_the_mean_of_the_interval(sample_run: Path) -> None:
    with duckdb.connect(str(sample_run / "published" / "experiments.duckdb"), read_only=True) as connection:
        rows = connection.execute(QUERIES["Does the interval agree with the pairs themselves?"]).fetchall()
    assert len(rows) == 5
    for _, _, of_interval, of_pairs in rows:
        assert of_interval == pytest.approx(of_pairs, abs=1e-9)


def test_the_notebook_runs_and_finds_a_path_and_a_breakdown(
    sample_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ET_DATA_DIR", str(sample_run))
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = runpy.run_path(str(NOTEBOOK), run_name="notebook")
    _, values = found["app"].run()
    assert len(values["path"]) > 100 and values["path"]["metric"][0] == "edge_bps"
    assert set(values["breakdown"]["value"]) == {"BUY", "SELL"}


EVERY_ROW_WITH_EVERY_ROW = re.compile(r"Nl Join|Nested Loop|Cross Product", re.IGNORECASE)
"""Operators whose time is the product of two tables: seconds on the sample, hours on a real warehouse."""


def plan(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    return connection.execute(f"EXPLAIN {query}").fetchall()[0][1]


def test_no_query_compares_every_row_with_every_row(sample_run: Path) -> None:
    """How long they take on 300,000 reports is what the benchmark `queries` measures."""
    slow = "SELECT * FROM pairs AS p JOIN reports AS r ON r.report_id IN (p.control_report_id, p.variant_report_id)"
    with duckdb.connect(str(sample_run / "published" / "experiments.duckdb"), read_only=True) as connection:
        assert EVERY_ROW_WITH_EVERY_ROW.search(plan(connection, slow))
        found = [
            name
            for name, query in QUERIES.items()
            if EVERY_ROW_WITH_EVERY_ROW.search(plan(connection, query))
        ]
    assert found == []
