"""The review pages in a real Chromium: they send no requests to the network, cause no errors, and nothing is cut
off."""

import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import duckdb
import pytest

from et_pipeline.insight.pages import write_pages
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import call_et
from et_pipeline_tests.insight.figures import Database, Page, not_found

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("review_pages"),
]

NAMES = [
    "index",
    "line-shop-v4",
    "basket-rebalance-fast",
    "quote-refresh-2s",
    "late-news-filter",
    "live-inventory-skew",
    "passive-exits-v2",
    "wide-split-props",
]
PHONE, DESKTOP, PAPER = (390, 844), (1280, 900), (680, 1000)  # the last is A4 within its margins
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(sample_run: Path) -> Path:
    return write_pages(Settings(data_dir=sample_run)).folder


def opened(browser, folder: Path, name: str, size: tuple[int, int], scheme: str):
    """The page, and everything it said or asked for that it should not."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    address = (folder / f"{name}.html").as_uri()
    page.on("request", lambda request: wrong.append(request.url) if not stays(request.url, address) else None)
    page.goto(address)
    return page, wrong


def stays(url: str, address: str) -> bool:
    return url == address or url.startswith("data:")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_quiet_fits_and_is_accessible(browser, pages: Path, name: str) -> None:
    page, wrong = opened(browser, pages, name, PHONE, "light")
    try:
        for size, scheme in product((PHONE, DESKTOP), ("light", "dark")):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0], (
                "nothing is cut off sideways"
            )
            found = axe.Axe().run(page).response["violations"]
            assert [(item["id"], item["impact"], item["nodes"][0]["html"][:200]) for item in found] == [], (
                size,
                scheme,
            )
        assert wrong == []
    finally:
        page.context.close()


@pytest.fixture(scope="module")
def limited_live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three limited-live experiments: one as planned, one with a wrong split, one with a large split unsigned."""
    folder = tmp_path_factory.mktemp("live") / "data"
    made = call_et(folder.parent, "generate", str(folder), "--matching", "nearest", "--experiments", "3",
                  "--opportunities", "1500", "--uplift", "edge_bps=4")  # fmt: skip
    assert made.returncode == 0, made.stderr
    for number, split in ((2, 20), (3, 60)):
        plan = folder / "experiments" / f"generated-{number}.yaml"
        text, changed = re.subn(r"traffic_split_pct: .*", f"traffic_split_pct: {split}", plan.read_text())
        assert changed == 1
        plan.write_text(text)
    ticked = call_et(folder, "tick", ET_MODE="limited_live")
    assert ticked.returncode == 0, ticked.stderr
    return folder / "published" / "pages"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "The split agrees with the plan."),
        (2, "Find out why the arms got other shares than planned"),
        (3, "The experiment ended before sampling was allowed to begin"),
    ],
)
def test_a_limited_live_page_tells_of_the_split(browser, limited_live: Path, number: int, said: str) -> None:
    for size, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
        page, wrong = opened(browser, limited_live, f"generated-{number}", size, scheme)
        assert wrong == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert axe.Axe().run(page).response["violations"] == []
        page.get_by_text(said).first.wait_for()
        assert page.get_by_role("img", name="Traffic split").count() == (number < 3)
        page.context.close()
    with duckdb.connect(str(limited_live.parent / "experiments.duckdb"), read_only=True) as connection:
        html = (limited_live / f"generated-{number}.html").read_text(encoding="utf-8")
        assert not_found(Page(html), Database(connection, f"generated-{number}")) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_on_paper(browser, pages: Path, name: str, tmp_path: Path) -> None:
    page, wrong = opened(browser, pages, name, PAPER, "dark")
    try:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER[0], (
            "nothing is cut off sideways"
        )
        assert page.locator("details pre").count() == page.locator("details pre:visible").count()
        assert page.locator(".narrow-only:visible").count() == 0, (
            "paper has the layout of a desk, not of a phone"
        )
        for head in page.locator("thead").all():
            assert head.evaluate("element => getComputedStyle(element).position") == "static"
        page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
        assert (tmp_path / "page.pdf").stat().st_size > 5_000
        assert wrong == []
    finally:
        page.context.close()


def test_the_charts_follow_the_colour_scheme(browser, pages: Path) -> None:
    line = ".wide-only svg.chart path[style*='stroke: var(--accent)']"
    ink = []
    for scheme in ("light", "dark"):
        page, _ = opened(browser, pages, "line-shop-v4", DESKTOP, scheme)
        ink.append(page.locator(line).first.evaluate("element => getComputedStyle(element).stroke"))
        page.context.close()
    assert ink[0] != ink[1]
    assert all(color.startswith("rgb(") for color in ink)


def test_a_reviewer_goes_from_the_index_to_an_experiment_and_back(browser, pages: Path) -> None:
    page, wrong = opened(browser, pages, "index", DESKTOP, "light")
    wrong_before = list(wrong)
    page.get_by_role("link", name="Wider quotes on NBA props").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Wider quotes on NBA props"
    page.get_by_role("link", name="Audit trail").click()
    assert page.url.endswith("#audit")
    page.get_by_role("link", name="All experiments").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Experiments"
    assert wrong_before == []
    page.context.close()


def test_a_chart_is_told_to_those_who_cannot_see_it(browser, pages: Path) -> None:
    page, _ = opened(browser, pages, "line-shop-v4", DESKTOP, "light")
    assert page.get_by_role("img", name="Interval path of edge_bps").count() == 1
    page.context.close()
