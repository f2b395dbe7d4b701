"""The index page with 5, 60 and 200 experiments, on a phone, on a large screen and in print; lists and orders need
no script."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copyfile

import duckdb
import pytest

from et_pipeline.governance.next_steps import GROUPS
from et_pipeline.insight.pages import index_page
from et_pipeline_tests.browser.test_review_pages import CHROMIUM, DESKTOP, PAPER, PHONE, axe, browser, opened

__all__ = ["browser"]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("review_pages"),
]
SIZES = (5, 60, 200)
SAMPLES = (
    "basket-rebalance-fast", "late-news-filter", "line-shop-v4", "quote-refresh-2s", "wide-split-props",
)  # fmt: skip
VARIED = """
INSERT INTO {table} BY NAME
SELECT t.* REPLACE (t.experiment_id || '-' || n AS experiment_id{more})
FROM range(1, {copies}) AS copies(n), (SELECT * FROM {table}) AS t
"""
OF_EXPERIMENTS = """, t.title || ' ' || n AS title, t.starts_at - to_days((n * 7 % 40)::INTEGER) AS starts_at,
t.owner || (n % 4) AS owner"""
STATES = """
UPDATE verdicts SET state = 'signed_off' WHERE state = 'promotion_review' AND experiment_id LIKE '%-2%';
UPDATE verdicts SET weakened = true WHERE experiment_id LIKE 'line-shop-v4-3%';
UPDATE verdicts SET state = 'stalled', reason = 'stalled' WHERE experiment_id LIKE 'late-news-filter-1%';
UPDATE verdicts SET verdict = NULL, reason = 'verdict_withdrawn', contradicted = true, state = 'concluded'
WHERE experiment_id = 'quote-refresh-2s-5';
"""


@pytest.fixture(scope="module")
def indexes(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the index of each size: five of the samples, and the same under other names, owners and states."""
    folder = tmp_path_factory.mktemp("indexes")
    for size in SIZES:
        path = copyfile(sample_run / "published" / "experiments.duckdb", folder / f"{size}.duckdb")
        with duckdb.connect(str(path)) as connection:
            for table, more in (("experiments", OF_EXPERIMENTS), ("verdicts", "")):
                connection.execute(f"DELETE FROM {table} WHERE experiment_id NOT IN {SAMPLES}")
                connection.execute(VARIED.format(table=table, more=more, copies=size // 5))
            connection.execute(STATES)
            (folder / f"index-{size}.html").write_text(index_page(connection), encoding="utf-8")
    return folder


@pytest.mark.parametrize("size", (min(SIZES), max(SIZES)))
@pytest.mark.parametrize(
    ("screen", "scheme"),
    [(PHONE, "light"), (DESKTOP, "dark"), (PAPER, "light")],
    ids=["phone", "desk", "paper"],
)
def test_it_fits_and_is_accessible(browser, indexes: Path, size: int, screen, scheme: str) -> None:
    page, wrong = opened(browser, indexes, f"index-{size}", screen, scheme)
    if screen == PAPER:
        page.emulate_media(media="print")
        assert page.locator(".choices").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= screen[0], "nothing is cut off sideways"
    assert page.locator("tr.experiment:visible").count() == size
    found = axe.Axe().run(page).response["violations"]
    assert [(item["id"], item["impact"], item["nodes"][0]["html"][:200]) for item in found] == []
    assert wrong == []
    page.context.close()


def test_what_needs_a_person_comes_first_with_its_count(browser, indexes: Path) -> None:
    page, _ = opened(browser, indexes, "index-200", DESKTOP, "light")
    headings = [words.rsplit(" ", 1) for words in page.locator(".group h2").all_inner_texts()]
    titles = [title for title, _ in headings]
    assert titles == [group.title for group in GROUPS.values() if group.title in titles]
    assert {"The verdict no longer follows", "The verdict has weakened", "Waits for a signature",
            "Decided by humans", "Concluded"} <= set(titles)  # fmt: skip
    assert sum(int(count) for _, count in headings) == 200
    for group, (_, count) in zip(page.locator(".group").all(), headings, strict=True):
        assert group.locator("tr.experiment").count() == int(count)
    signed, waiting = (
        page.locator(".group", has=page.locator(f"#{key}")).locator("tr.experiment").first.inner_text()
        for key in ("decided", "waiting")
    )
    assert "signed off" in signed and "signed off" not in waiting
    page.context.close()


def test_lists_leave_out_what_does_not_match(browser, indexes: Path) -> None:
    page, wrong = opened(browser, indexes, "index-60", DESKTOP, "light")
    seen = page.locator("tr.experiment:visible")
    page.locator("#owner").select_option(label="news-desk1")
    assert 0 < seen.count() < 60 and all("news-desk1" in row for row in seen.all_inner_texts())
    of_owner = seen.count()
    page.locator("#state").select_option(label="stalled")
    assert 0 < seen.count() < of_owner and all("stalled" in row for row in seen.all_inner_texts())
    page.locator("#owner").select_option("all")
    page.locator("#state").select_option("all")
    page.locator("#verdict").select_option(label="Variant is better")
    assert seen.count() > 0 and all("Variant is better" in row for row in seen.all_inner_texts())
    page.locator("#verdict").select_option("all")
    page.locator("#show").select_option("needed")
    assert 0 < seen.count() < 60
    assert page.get_by_role("heading", name="Concluded").count() == 0
    page.locator("#show").select_option("all")
    assert seen.count() == 60
    assert wrong == []
    page.context.close()


PLACES = """rows => rows.map(row => [
    row.getBoundingClientRect().y, row.querySelector("th a").innerText, row.querySelector("td.n").innerText])"""
"""Where each row is on the page, its title and its number of pairs; asked at once, since there are hundreds."""


@pytest.mark.parametrize(
    ("order", "cell", "reverse"), [("oldest", None, False), ("title", 0, False), ("pairs", 3, True)]
)
@pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desk"])
def test_rows_stand_in_the_order_that_is_chosen(browser, indexes: Path, order, cell, reverse, screen) -> None:
    page, _ = opened(browser, indexes, "index-200", screen, "light")
    page.locator("#order").select_option(order)
    with duckdb.connect(str(indexes / "200.duckdb"), read_only=True) as connection:
        started = dict(connection.execute("SELECT title, starts_at FROM experiments").fetchall())
    for group in page.locator(".group").all():
        rows = sorted(group.locator("tr.experiment").evaluate_all(PLACES))
        titles = [title for _, title, _ in rows]
        if cell is None:
            keys = [started[title] for title in titles]
        elif cell == 0:
            keys = [title.casefold() for title in titles]
        else:
            numbers = [re.search(r"[\d,]+", pairs) for _, _, pairs in rows]
            keys = [int(found[0].replace(",", "")) if found else 0 for found in numbers]
        assert keys == sorted(keys, reverse=reverse)
    page.context.close()
