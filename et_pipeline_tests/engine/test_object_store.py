"""The data set in an object store: Sail's workers and the driver reach a real S3 server on loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from et_pipeline.engine.storage import Storage
from et_pipeline_tests.conftest import SAMPLE_PLANS
from et_pipeline_tests.engine.conftest import serve_sail
from et_pipeline_tests.engine.standalone import free_port, kill, listening, until
from et_pipeline_tests.engine.test_job import compare, tick, worlds
from et_pipeline_tests.job.conftest import generate

BUCKET = "et-reports"
PLANS = ("line-shop-v4", "late-news-filter")
"""One that pairs by correlation, one by nearest time."""


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


def test_ticks_say_the_same(store: dict[str, str], tmp_path: Path) -> None:
    """Two ticks, so that pairs of an earlier run are replaced and swept away."""
    address = f"s3://{BUCKET}/of/experiments"
    with serve_sail(tmp_path / "sail.log", **store) as url, worlds(tmp_path, url, address) as (local, remote):
        for name in PLANS:
            (local.folder / "experiments").mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLE_PLANS / f"{name}.yaml", local.folder / "experiments")
        generate(local)
        shutil.copytree(local.folder, remote.folder)
        late = [
            (path, path.with_name(f"{path.name}.tmp"))
            for world in (local, remote)
            for path in sorted(world.settings.report_bus_dir.rglob("*.*"))[::2]
        ]
        for path, hidden in late:
            path.rename(hidden)
        tick(local, remote)
        compare(local, remote)
        storage = Storage(address)
        before = storage.names("pairs")
        assert len(before) == 1 and storage.rows("pairs") > 0
        for path, hidden in late:
            hidden.rename(path)
        tick(local, remote)
        compare(local, remote)
        assert storage.rows("pairs") == sum(n for (n,) in local.rows("SELECT count(*) FROM pairs"))
        assert storage.names() == ["pairs", "reports", "unmatched"], "scratch is swept away"
        assert len(storage.names("pairs")) == 1 and storage.names("pairs") != before
        assert storage.names("reports") == ["batch=1", "batch=2"]
    assert not (tmp_path / "set").exists()
