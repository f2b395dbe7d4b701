import base64
import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from shutil import copyfile, copytree
from xml.etree import ElementTree

import duckdb
import pytest

from et_pipeline.experiments.registration import register
from et_pipeline.governance.next_steps import command, next_step
from et_pipeline.insight.findings import badge, find
from et_pipeline.insight.pages import experiment_page, write_pages
from et_pipeline.insight.plots import interval_path_markdown, interval_path_svg
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.insight.read import read_experiment
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_warehouse
from et_pipeline_tests.conftest import call_et

pytestmark = pytest.mark.xdist_group("review_pages")
SAMPLES = {
    "line-shop-v4": "Variant is better",
    "basket-rebalance-fast": "Variant is worse",
    "quote-refresh-2s": "Equivalent",
    "late-news-filter": "Not decided yet",
    "live-inventory-skew": "Variant is better",
    "passive-exits-v2": "Inconclusive",
    "wide-split-props": "Waits for a sign-off",
}
HOSTILE = """
experiment_id: hostile
title: "</title><script>alert(1)</script>"
hypothesis: "<img src=x onerror=alert(2)> & \\"quotes\\" {{ 7 * 7 }}"
owner: "<b onmouseover=alert(3)>pod</b>"
mode: shadow
control: {strategy_id: "<svg onload=alert(4)>", config_version: "1"}
variant: {strategy_id: "<svg onload=alert(4)>", config_version: "2"}
planned_pairs: 100
starts_at: 2026-11-01T00:00:00Z
ends_at: 2026-12-01T00:00:00Z
metrics: [{name: edge_bps, role: primary}]
"""


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def sample(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The sample run's published database, with pages of its own."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("pages"), dagster_url="https://dagster.example")
    copytree(sample_run / "published", settings.published_dir, ignore=lambda *_: ["pages", "parquet"])
    write_pages(settings, run_id="0f1e2d3c-run")
    return settings


def page(settings: Settings, name: str) -> str:
    return (settings.published_dir / "pages" / f"{name}.html").read_text(encoding="utf-8")


def visible(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<(style|title|desc)\b.*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL))


@pytest.mark.parametrize("experiment_id", SAMPLES)
def test_a_page_says_verdict_why_and_every_part_a_reviewer_needs(
    sample: Settings, experiment_id: str
) -> None:
    html = page(sample, experiment_id)
    words = visible(html)
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        row = connection.execute(
            "SELECT sentence, plan_hash, evidence_hash, verdict FROM verdicts WHERE experiment_id = ?",
            [experiment_id],
        ).fetchone()
        audits = connection.execute(
            "SELECT hash FROM audit_log WHERE experiment_id = ?", [experiment_id]
        ).fetchall()
        events = connection.execute(
            "SELECT coalesce(reason_code, 'drift signal') FROM events WHERE experiment_id = ? "
            "AND kind <> 'promotion_review'",
            [experiment_id],
        ).fetchall()
    assert row is not None
    sentence, plan_hash, evidence_hash, verdict = row
    assert SAMPLES[experiment_id] in words
    assert re.sub(r"\s+", " ", sentence) in words.replace("&#39;", "'").replace("&lt;", "<")
    assert plan_hash in words
    assert evidence_hash is None or evidence_hash in words
    assert ("Why not yet" in words) == (verdict is None)
    assert audits
    assert all(hash_[:16] in words for (hash_,) in audits)
    assert all(event in words for (event,) in events)
    pairs = "Pairs to look at" if experiment_id.startswith("live") else "Match rate"
    for part in ("Interval path", "Every metric", pairs, "Diagnostics", "The plan, as frozen", "Sign-offs",
                 "Messages", "Audit trail"):  # fmt: skip
        assert part in words


@pytest.mark.parametrize("experiment_id", SAMPLES)
def test_the_figures_are_those_of_the_database_at_the_decision(sample: Settings, experiment_id: str) -> None:
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT p.n_pairs, p.mean_uplift, p.ci_lower, p.ci_upper FROM interval_path AS p "
            "JOIN verdicts AS v USING (experiment_id) JOIN experiment_metrics AS m USING (experiment_id, metric) "
            "WHERE p.experiment_id = ? AND m.role = 'primary' AND p.as_of <= coalesce(v.decided_as_of, p.as_of) "
            "AND (p.closed OR v.decided_as_of IS NOT NULL) "
            "ORDER BY p.as_of DESC LIMIT 1",
            [experiment_id],
        ).fetchall()
    words = visible(page(sample, experiment_id))
    for n_pairs, _, lower, upper in rows:
        assert f"{n_pairs:,}" in words
        shown = re.search(r"Uplift of edge_bps (\S+) to (\S+) bps", words)
        if shown is None:
            assert "Uplift of edge_bps no interval yet" in words
            continue
        ends = [float(end.replace("−", "-")) for end in shown.groups()]
        assert ends == pytest.approx([lower, upper], abs=0.01 * (upper - lower))


@pytest.mark.parametrize("experiment_id", [*SAMPLES, "index"])
def test_a_page_stands_alone(sample: Settings, experiment_id: str) -> None:
    html = page(sample, experiment_id)
    tags = Tags(html).tags
    assert not {tag for tag, _ in tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "video",
        "audio",
    }
    policy = [attributes["content"] for tag, attributes in tags if attributes.get("http-equiv")]
    assert [(text or "").startswith("default-src 'none'") for text in policy] == [True]
    links = {attributes["href"] for tag, attributes in tags if tag in ("a", "link") and "href" in attributes}
    outside = {link for link in links if link and re.match(r"[a-z]+:|//", link)}
    assert outside <= {"data:,", "https://dagster.example/runs/0f1e2d3c-run"}
    assert not [attributes for _, attributes in tags if attributes.get("src")]
    assert "url(http" not in html


@pytest.mark.parametrize("experiment_id", SAMPLES)
def test_ids_are_unique_and_every_reference_has_its_target(sample: Settings, experiment_id: str) -> None:
    html = page(sample, experiment_id)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:xlink:href|href)="#([^"]+)"|url\(#([^)]+)\)', html)
    assert {one or other for one, other in targets} <= set(ids)
    for labels in re.findall(r'aria-labelledby="([^"]+)"', html):
        assert set(labels.split()) <= set(ids)
    assert "#0101" not in html, "a placeholder colour was left in a chart"


def test_what_people_write_stays_text(settings: Settings) -> None:
    (settings.experiments_dir / "hostile.yaml").write_text(HOSTILE)
    with open_warehouse(settings) as connection:
        assert register(connection, settings, settings.now()).registered == ["hostile"]
        connection.execute(
            "INSERT INTO outages VALUES ('<script>alert(5)</script>', TIMESTAMP '2026-11-02', NULL, '<i>x</i>')"
        )
    publish_analyst_database(settings)
    write_pages(settings, run_id='"><script>alert(6)</script>')
    html = page(settings, "hostile") + page(settings, "index")
    names = {tag for tag, _ in Tags(html).tags}
    assert not names & {"script", "img", "svg"}
    attributes = {name for _, found in Tags(html).tags for name in found}
    assert not {name for name in attributes if name.startswith("on")}
    assert "{{ 7 * 7 }}" in html
    assert "&lt;script&gt;alert(1)" in html


def test_an_experiment_without_any_report_has_a_good_page(settings: Settings) -> None:
    (settings.experiments_dir / "hostile.yaml").write_text(HOSTILE)
    with open_warehouse(settings) as connection:
        register(connection, settings, settings.now())
    publish_analyst_database(settings)
    write_pages(settings)
    words = visible(page(settings, "hostile"))
    for said in ("Not started", "No tick has looked at this experiment yet", "There is no path yet",
                 "No reports have been paired yet", "Nobody has signed anything",
                 "drawn outside a Dagster run"):  # fmt: skip
        assert said in words
    assert "None" not in words


def test_no_experiment_at_all(settings: Settings) -> None:
    with open_warehouse(settings):
        pass
    publish_analyst_database(settings)
    assert write_pages(settings).drawn == []
    assert "No experiment is registered yet" in page(settings, "index")


def test_only_pages_that_changed_are_drawn_again(sample_run: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes((sample_run / "warehouse" / "warehouse.duckdb").read_bytes())
    publish_analyst_database(settings)
    assert write_pages(settings, run_id="the-tick").drawn == sorted(SAMPLES)
    assert write_pages(settings).drawn == []
    changes = {
        "UPDATE deliveries SET status = 'failed' WHERE event_id = (SELECT any_value(event_id) FROM events "
        "WHERE experiment_id = 'line-shop-v4')": ["line-shop-v4"],
        "UPDATE verdicts SET contradicted = true WHERE experiment_id = 'quote-refresh-2s'": [
            "quote-refresh-2s"
        ],
        "UPDATE experiments SET title = 'Another' WHERE experiment_id = 'late-news-filter'": [
            "late-news-filter"
        ],
        "UPDATE sign_offs SET checked_at = checked_at": [],
        "INSERT INTO failures VALUES ('late-news-filter', 'decision', now()::TIMESTAMP, 'e', 'It failed.', 't')": [
            "late-news-filter"
        ],
        "DELETE FROM failures": ["late-news-filter"],
    }
    for change, expected in changes.items():
        with open_warehouse(settings) as connection:
            connection.execute(change)
        publish_analyst_database(settings)
        assert write_pages(settings).drawn == expected, change
    (settings.pages_dir / "wide-split-props.html").unlink()
    assert write_pages(settings).drawn == ["wide-split-props"]
    assert "no longer follows" in page(settings, "quote-refresh-2s")
    assert "/runs/the-tick" in page(settings, "line-shop-v4"), "a delivery does not change which run decided"


def test_a_delivery_changes_the_part_about_messages_alone(sample_run: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes((sample_run / "warehouse" / "warehouse.duckdb").read_bytes())
    publish_analyst_database(settings)
    write_pages(settings, run_id="the-tick")

    def deliver(status: str) -> None:
        with open_warehouse(settings) as connection:
            connection.execute(
                "UPDATE deliveries SET status = ? WHERE event_id IN (SELECT event_id FROM events "
                "WHERE experiment_id IN ('line-shop-v4', 'quote-refresh-2s'))",
                [status],
            )
        publish_analyst_database(settings)

    def as_if_drawn_whole(name: str) -> str:
        with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
            return experiment_page(connection, name, run_id="the-tick")

    changed = ["line-shop-v4", "quote-refresh-2s"]
    deliver("failed")
    pages = write_pages(settings)
    assert (pages.drawn, pages.refreshed) == (changed, changed)
    assert [page(settings, name) for name in changed] == [as_if_drawn_whole(name) for name in changed]
    assert "failed" in visible(page(settings, "line-shop-v4"))

    (settings.pages_dir / "line-shop-v4.html").write_text("cut off")
    deliver("delivered")
    pages = write_pages(settings, run_id="a-later-tick")
    assert (pages.drawn, pages.refreshed) == (changed, ["quote-refresh-2s"])
    assert [page(settings, name) for name in changed] == [as_if_drawn_whole(name) for name in changed]


def test_pages_drawn_together_are_the_pages_drawn_alone(sample: Settings) -> None:
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        for name in SAMPLES:
            alone = experiment_page(connection, name, run_id="0f1e2d3c-run", dagster_url=sample.dagster_url)
            assert page(sample, name) == alone


def test_a_page_of_an_experiment_that_is_no_more_is_removed(settings: Settings) -> None:
    (settings.experiments_dir / "hostile.yaml").write_text(HOSTILE)
    with open_warehouse(settings) as connection:
        register(connection, settings, settings.now())
    publish_analyst_database(settings)
    write_pages(settings)
    with open_warehouse(settings) as connection:
        connection.execute("DELETE FROM experiments")
    publish_analyst_database(settings)
    pages = write_pages(settings)
    assert pages.removed == ["hostile"]
    assert not (pages.folder / "hostile.html").exists()


def test_the_same_database_gives_the_same_page(sample: Settings) -> None:
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        assert experiment_page(connection, "line-shop-v4") == experiment_page(connection, "line-shop-v4")
        with pytest.raises(KeyError):
            experiment_page(connection, "unknown")


def test_a_page_whose_primary_has_no_diagnostics_tells_the_rest(sample: Settings, tmp_path: Path) -> None:
    path = Path(copyfile(sample.analyst_path, tmp_path / "copy.duckdb"))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "DELETE FROM series_diagnostics WHERE experiment_id = 'line-shop-v4' AND metric = 'edge_bps'"
        )
        words = visible(experiment_page(connection, "line-shop-v4"))
    assert "Variant is better" in words
    assert "of the control’s opportunities" not in words


def test_before_anything_is_published_it_says_so(settings: Settings) -> None:
    with pytest.raises(FileNotFoundError, match="a tick publishes it at its end"):
        write_pages(settings)


def test_the_plot_for_the_dagster_ui_is_a_small_image_that_stands_alone(sample: Settings) -> None:
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        image = interval_path_svg(connection, "line-shop-v4")
        assert image is not None
        assert 5_000 < len(image) < 60_000
        root = ElementTree.fromstring(image)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        used = set(re.findall(r"var\((--\w+)\)", image))
        assert used <= set(re.findall(r"(--\w+):", root.attrib["style"])), "it brings its colours along"
        markdown = interval_path_markdown(connection, "line-shop-v4")
        assert markdown is not None
        head, data = markdown.removesuffix(")").split("base64,")
        assert head == "![interval path of line-shop-v4](data:image/svg+xml;"
        assert base64.b64decode(data).decode() == image
        assert interval_path_svg(connection, "wide-split-props") is None


def test_a_split_that_nobody_signed_is_never_called_signed_off(sample: Settings) -> None:
    with duckdb.connect(str(sample.analyst_path), read_only=True) as connection:
        waiting = read_experiment(connection, "wide-split-props")
    over = {
        **waiting.verdict,
        "state": "concluded",
        "verdict": "inconclusive",
        "decided_as_of": datetime(2027, 12, 31),
    }
    for data in (waiting, waiting._replace(verdict=over)):
        (split,) = [item for item in find(data).conditions if item.label == "Split signed off"]
        assert split.word == "not yet"


@pytest.mark.parametrize(
    ("state", "verdict", "missing", "said", "runs"),
    [
        (None, None, [], "begins at the planned start", None),
        ("sampling", None, ["too_few_pairs"], "continues", None),
        ("promotion_review", "variant_better", [], "signed decision", "et sign-off it approve"),
        ("concluded", "variant_better", [], "asks for no review", None),
        ("concluded", "inconclusive", ["primary_undecided"], "longer run", None),
        ("concluded", "inconclusive", ["sample_ratio_alarm"], "other shares than planned", None),
    ],
)
def test_the_next_step(
    state: str | None, verdict: str | None, missing: list[str], said: str, runs: str | None
) -> None:
    assert said in next_step(state, verdict, missing)
    assert command("it", state) == runs


def test_a_declined_split_asks_nobody_to_sign_again() -> None:
    state, reason = "awaiting_sign_off", "split_declined"
    assert "Lower traffic_split_pct" in next_step(state, None, [], reason)
    assert command("it", state, reason) is None
    assert badge(None, state, reason) == ("Split declined", "open")
    assert badge(None, state, state) == ("Waits for a sign-off", "open")


def test_the_plan_on_the_page_is_the_plan_in_force(sample: Settings) -> None:
    html = page(sample, "line-shop-v4")
    found = re.search(r"<pre>(.*?)</pre>", html, flags=re.DOTALL)
    assert found is not None
    shown = json.loads(found[1].replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&"))
    assert shown["experiment_id"] == "line-shop-v4"
    assert shown["metrics"][0]["name"] == "edge_bps"


def test_a_primary_that_the_plan_derives_has_a_page(tmp_path: Path) -> None:
    """It has no column in `pairs`, so there is no picture of its single uplifts."""
    folder = tmp_path / "data"
    assert call_et(folder, "generate", str(folder), "--opportunities", "300").returncode == 0
    plan = folder / "experiments" / "generated-1.yaml"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(
        text.replace(
            "name: edge_bps\n  role: primary\n  equivalence_margin: 2.0",
            "name: edge_bps\n  below: 0\n  role: primary",
        )
    )
    done = call_et(folder, "tick", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["failures"] == [], done.stdout + done.stderr
    page = (folder / "published" / "pages" / "generated-1.html").read_text(encoding="utf-8")
    assert "edge_bps.below.0" in page and "Single uplifts" not in page
