"""Every sample query of `docs/query.md` runs on the published database of the sample run."""

import re
from pathlib import Path

import duckdb
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "query.md").read_text(encoding="utf-8")
QUERIES = dict(
    re.findall(r"^## (.+?)\n(?:(?!^## )[\s\S])*?```sql\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
)
EMPTY = {"Does the accounting balance?", "Which blocks lack values, and in which arm?", "Who signed what?"}
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
    assert len(rows) == 4
    for _, _, of_interval, of_pairs in rows:
        assert of_interval == pytest.approx(of_pairs, abs=1e-9)
