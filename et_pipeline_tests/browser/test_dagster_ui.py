"""The Dagster UI as `et ui` starts it, in a real Chromium: lineage, plots, checks, and one experiment run again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests

from et_pipeline.definitions import defs
from et_pipeline_tests.conftest import PROJECT
from et_pipeline_tests.waiting import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
    pytest.mark.xdist_group("daemon"),
]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PATIENCE_S = 90
EXPERIMENT = "line-shop-v4"
RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId jobName status tags { key value } } } } }"


@pytest.fixture(scope="module")
def address(sample_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The UI over a copy of the sample run."""
    folder = tmp_path_factory.mktemp("ui") / "data"
    shutil.copytree(sample_run, folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ET_", "DAGSTER_"))}
    log = (folder / "ui.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "ui", "--port", str(port)],
        cwd=PROJECT,
        env={**clean, "ET_DATA_DIR": str(folder)},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE_S
        while not answers(base):
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"no UI; the log ends with:\n{(folder / 'ui.log').read_text()[-3000:]}")
            time.sleep(0.5)
        yield base
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def answers(base: str) -> bool:
    """Whether the server is up and the definitions are loaded."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    try:
        answer = requests.post(f"{base}/graphql", json={"query": query}, timeout=30)
    except requests.RequestException:
        return False
    return answer.ok and bool(answer.json()["data"]["repositoriesOrError"].get("nodes"))


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = chromium.new_page(viewport={"width": 1500, "height": 1000}, base_url=address)
        opened.set_default_timeout(PATIENCE_S * 1000)
        yield opened
        chromium.close()


@pytest.fixture
def tall(page: Any) -> Iterator[Any]:
    """The page in a window that holds every asset at once: the UI draws only those that lie inside of it."""
    usual = page.viewport_size
    page.set_viewport_size({"width": usual["width"], "height": 2000})
    yield page
    page.set_viewport_size(usual)


@pytest.fixture(autouse=True)
def screenshot(page: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the browser showed at the end, for people, in pytest's temporary folder."""
    yield
    page.screenshot(path=str(tmp_path.parent / f"{request.node.name}.png"))


def runs(base: str) -> list[dict[str, Any]]:
    answer = requests.post(f"{base}/graphql", json={"query": RUNS}, timeout=30)
    found: list[dict[str, Any]] = answer.json()["data"]["runsOrError"]["results"]
    return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]


def test_the_lineage_shows_every_stage_and_its_assets(tall: Any) -> None:
    tall.goto("/asset-groups")
    for group in ("ingest", "experiments", "pairing", "inference", "governance", "insight"):
        tall.locator("svg").get_by_text(group, exact=True).first.wait_for()
    tall.mouse.click(1000, 1800, button="right")
    tall.get_by_role("menuitem", name="Expand all groups").click()
    for asset in ("reports", "sign_offs", "pairs", "interval_path", "verdicts", "review_pages"):
        tall.locator("svg").get_by_text(asset, exact=True).first.wait_for()


def test_the_newcomer_meets_no_dialog(page: Any) -> None:
    page.goto("/asset-groups")
    page.locator("svg").get_by_text("pairing", exact=True).first.wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_an_experiments_interval_path_and_figures_are_shown(page: Any) -> None:
    page.goto(f"/assets/experiment?view=partitions&partition={EXPERIMENT}")
    for figure in ("n_pairs", "mean_uplift", "ci_lower", "ci_upper"):
        page.get_by_text(figure, exact=True).wait_for()
    page.get_by_text("[Show Markdown]").click()
    plot = page.get_by_role("dialog").locator("img")
    plot.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 300", arg=plot.element_handle())


def test_the_verdict_is_told_in_a_sentence(page: Any) -> None:
    page.goto(f"/assets/experiment?view=partitions&partition={EXPERIMENT}")
    page.get_by_text("The variant is better").wait_for()


@pytest.mark.parametrize(
    ("asset", "check"),
    [
        ("snapshots", "every_line_accounted_for"),
        ("pairs", "one_pair_a_report"),
        ("audit_log", "audit_chain_intact"),
    ],
)
def test_a_check_passed_beside_what_it_guards(page: Any, asset: str, check: str) -> None:
    spec = defs.resolve_asset_graph().get_check_spec(dg.AssetCheckKey(dg.AssetKey(asset), check))
    page.goto(f"/assets/{asset}?view=checks&checkDetail={check}")
    page.get_by_text(spec.description).wait_for()
    page.get_by_text("Passed", exact=True).first.wait_for()


def test_an_asset_says_what_it_is(page: Any) -> None:
    page.goto("/assets/pairs")
    page.get_by_text("Matched pairs. Each row is a control report and a variant report").wait_for()
    page.get_by_text("strategy-governance").wait_for()
    page.get_by_text("edge_bps_uplift", exact=True).first.wait_for()


def test_what_is_published_has_a_freshness_policy(page: Any) -> None:
    page.goto("/assets/analyst_database")
    page.get_by_text("Freshness policy").first.wait_for()
    page.get_by_text("the copy of the warehouse that analysts read").first.wait_for()


def test_one_experiment_is_rerun_alone(page: Any, address: str) -> None:
    before = {run["runId"] for run in runs(address)}
    page.goto(f"/assets/experiment?view=partitions&partition={EXPERIMENT}")
    page.get_by_text("mean_uplift", exact=True).wait_for()
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Launch 1 run").click()

    def ended() -> list[dict[str, Any]]:
        mine = [run for run in runs(address) if run["tags"].get("dagster/partition") == EXPERIMENT]
        return mine if mine and mine[0]["status"] in {"SUCCESS", "FAILURE", "CANCELED"} else []

    mine = wait_for(ended, PATIENCE_S, lambda: f"the runs are {runs(address)}", pause=1)
    assert [run["status"] for run in mine] == ["SUCCESS"]
    assert mine[0]["runId"] not in before
    page.goto(f"/assets/experiment?view=partitions&partition={EXPERIMENT}")
    page.get_by_text(mine[0]["runId"][:8]).first.wait_for()


def test_ticks_of_the_command_line_are_in_the_history_of_their_job(page: Any, address: str) -> None:
    mine = [run for run in runs(address) if run["jobName"] == "tick"][-1]
    page.goto("/locations/et_pipeline.definitions/jobs/tick/runs")
    page.get_by_text(mine["runId"][:8]).first.wait_for()


def test_a_run_page_tells_its_steps(page: Any, address: str) -> None:
    mine = [run for run in runs(address) if run["jobName"] == "tick"][-1]
    page.goto(f"/runs/{mine['runId']}")
    # Drawn by time, a step of a slow run lies off the screen and is not there.
    page.get_by_role("img", name="gantt_flat").click()
    for step in ("ingest", "pairing", "evidence", "governance"):
        page.get_by_text(step, exact=True).first.wait_for()


def test_sensors_and_schedules_are_on(page: Any) -> None:
    page.goto("/automation")
    for name in ("new_inputs", "publish_when_decided", "tell_failures", "regular_ticks", "clean_up_daily"):
        page.get_by_text(name, exact=True).first.wait_for()
    repository = defs.get_repository_def()
    switches = len(repository.sensor_defs) + len(repository.schedule_defs)
    page.wait_for_function(  # the boxes that select a row are none of them checked
        "many => document.querySelectorAll('input[type=checkbox]:checked').length === many", arg=switches
    )


def test_runs_are_found_by_experiment(page: Any, address: str) -> None:
    tag = f"et.experiment/{EXPERIMENT}"
    found = runs(address)
    about = {run["runId"][:8] for run in found if tag in run["tags"]}
    others = {run["runId"][:8] for run in found} - about
    assert about
    assert others
    page.goto(f"/runs?q%5B0%5D=tag%3A{tag}%3Dchanged")
    for run in about:
        page.get_by_text(run).first.wait_for()
    assert not any(page.get_by_text(run).count() for run in others)
