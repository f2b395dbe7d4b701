"""Breakdowns from the line of a report to the page: labels are read and used, and the page stays accessible."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import duckdb
import pytest

from et_pipeline_tests.browser.test_review_pages import CHROMIUM, DESKTOP, PAPER, PHONE, axe, browser, opened
from et_pipeline_tests.conftest import call_et
from et_pipeline_tests.insight.figures import Database, Page, not_found

__all__ = ["browser"]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("review_pages"),
]
ASKED = """breakdowns: [side, outcome_id, hour, market, label.desk]
market_groups: {ones: "*1", "long name of a group of markets, and longer": "*2"}
"""
HOSTILE = "<b>&\"' "


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated experiment whose reports have labels: one that reads like a tag, and more than fifty others."""
    folder = tmp_path_factory.mktemp("broken-down") / "data"
    made = call_et(folder.parent, "generate", str(folder), "--experiments", "1", "--opportunities", "2500",
                  "--uplift", "edge_bps=2")  # fmt: skip
    assert made.returncode == 0, made.stderr
    plan = folder / "experiments" / "generated-1.yaml"
    plan.write_text(plan.read_text() + ASKED)
    for snapshot in (folder / "report_bus").glob("*.ndjson"):
        lines = []
        for line in snapshot.read_text(encoding="utf-8").splitlines():
            document = json.loads(line)
            number = zlib.crc32(document["correlation_id"].encode()) % 70
            desk = HOSTILE if number < 5 else f"desk {number}"
            lines.append(json.dumps(document | {"labels": {"desk": desk, "venue": None}}))
        snapshot.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ticked = call_et(folder, "tick")
    assert ticked.returncode == 0, ticked.stderr
    return folder


@pytest.mark.parametrize("screen", [PHONE, DESKTOP, PAPER], ids=["phone", "desk", "paper"])
def test_the_page_shows_them_and_is_accessible(browser, data: Path, screen) -> None:
    page, wrong = opened(browser, data / "published" / "pages", "generated-1", screen, "light")
    if screen == PAPER:
        page.emulate_media(media="print")
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= screen[0]
    assert axe.Axe().run(page).response["violations"] == []
    for name in ("By side", "By outcome id", "By hour", "By market", "By desk"):
        assert page.get_by_role("img", name=name).is_visible()
    page.context.close()


def test_every_figure_is_that_of_the_table_and_a_label_stays_text(data: Path) -> None:
    html = (data / "published" / "pages" / "generated-1.html").read_text(encoding="utf-8")
    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        assert not_found(Page(html), Database(connection, "generated-1")) == []
        rows = connection.execute(
            "SELECT value, n_values, share FROM breakdowns WHERE dimension = 'label.desk' ORDER BY share DESC"
        ).fetchall()
    assert len(rows) == 51
    assert {(value, held) for value, held, _ in rows} >= {(HOSTILE, 1), ("(other)", 16)}
    assert sum(share for *_, share in rows) == pytest.approx(1)
    assert "<b>&" not in html and "&lt;b&gt;&amp;" in html
    assert "16 others" in html


def test_rebuilt_from_the_snapshots_they_are_the_same(data: Path) -> None:
    done = call_et(data, "rebuild", "--check", "--json")
    tables = {row["table"]: row for row in json.loads(done.stdout)["tables"]}
    assert done.returncode == 0
    assert tables["breakdowns"]["present"] > 80 and tables["segment_cells"]["present"] > 5000
