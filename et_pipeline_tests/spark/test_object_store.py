"""The data set in an object store: Sail's workers and the driver reach a real S3 server on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Iterator
from pathlib import Path

import fsspec
import pytest

from et_pipeline.commands import samples
from et_pipeline.contracts.plan import read_plans
from et_pipeline.generator import write_snapshots
from et_pipeline.spark.storage import Storage
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.spark.conftest import serve_sail
from et_pipeline_tests.spark.standalone import free_port, kill, listening, until
from et_pipeline_tests.spark.test_job import compare, tick, worlds

BUCKET = "et-reports"
NEAREST = "mode: limited_live\nmatching: {method: nearest, tolerance: 2h}"
PLANS = {
    "line-shop-v4": [
        ("matching: {method: correlation, on_no_trade: exclude}", NEAREST),
        ("mode: shadow", ""),
    ],
    "late-news-filter": [],
}
"""One that pairs by nearest time and one by correlation: samples, and what stands there and here."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment that leads to an S3 server with one empty bucket; it is this process's too."""
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "reader-and-writer",
        "AWS_SECRET_ACCESS_KEY": "of-the-test",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "s3.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(lambda: listening(port), "the S3 server does not listen")
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
            yield environment
        finally:
            kill(server)


def generate(world: World, files: Container[int]) -> None:
    """Writes some of the snapshots."""
    plans, refused = read_plans(world.settings.experiments_dir)
    assert len(plans) == 2 and not refused
    scenarios = [
        samples.scenario(plan, opportunities=300, markets=20, uplift={}, duplicate_share=0.02)
        for plan in plans.values()
    ]
    write_snapshots(scenarios, world.settings.report_bus_dir, seed=1, files=4, broken=1, only=files)


def test_ticks_say_the_same(store: dict[str, str], tmp_path: Path) -> None:
    """Two ticks, the second one with what came late, so that pairs of the first are replaced and swept away."""
    address = f"s3://{BUCKET}/of/experiments"
    with serve_sail(tmp_path / "sail.log", **store) as url, worlds(tmp_path, url, address) as both:
        for world in both:
            world.environment["ET_MODE"] = "limited_live"
            world.settings.experiments_dir.mkdir(parents=True)
            for name, changes in PLANS.items():
                text = (SAMPLE_PLANS / f"{name}.yaml").read_text(encoding="utf-8")
                for before, after in changes:
                    assert before in text
                    text = text.replace(before, after)
                path = world.settings.experiments_dir / f"{name}.yaml"
                path.write_text(text, encoding="utf-8")
        local, _ = both
        storage, runs = Storage(address), []
        for files in ((1, 3), (0, 2)):
            for world in both:
                generate(world, files)
            tick(*both)
            compare(*both)
            ((pairs,),) = local.rows("SELECT count(*) FROM pairs")
            assert storage.rows("pairs") == pairs > 0, "pairs of runs that do not count are swept away"
            assert storage.names() == ["pairs", "reports", "unmatched"], "and so is what was in between"
            runs.append(storage.names("pairs"))
        assert runs[0] != runs[1] and storage.names("reports") == ["batch=1", "batch=2"]
    assert not (tmp_path / "set").exists()
