"""A real Sail server on loopback, one for each process that runs tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import et_pipeline
from et_pipeline_tests.pairing.lab import Lab, open_lab
from et_pipeline_tests.spark.standalone import Cluster, standalone

# A worker of pytest-xdist has no main file; pyspark would take that for a run of its own doctests, and exit.
if not hasattr(sys.modules["__main__"], "__file__"):
    # of all files one that other tests' spawned processes may run as their main module: it does nothing
    sys.modules["__main__"].__file__ = et_pipeline.__file__

SERVE = "from pysail.spark import SparkConnectServer as S; s = S('127.0.0.1', 0); s.start(background=True); print(s.listening_address[1], flush=True); input()"


@contextmanager
def serve_sail(log: Path, **environment: str) -> Iterator[str]:
    """The address of a Sail server, in a process of its own."""
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | environment,
        ) as server,
    ):
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        assert re.fullmatch(r"\d+", port), log.read_text()
        try:
            yield f"sc://127.0.0.1:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="session")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Sail server."""
    with serve_sail(tmp_path_factory.mktemp("sail") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A standalone Spark cluster."""
    with standalone(tmp_path_factory.mktemp("spark")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark(spark_cluster: Cluster) -> str:
    """The address of a standalone Spark cluster."""
    return spark_cluster.url


@pytest.fixture(params=["sail", pytest.param("spark", marks=pytest.mark.spark)])
def cluster(request: pytest.FixtureRequest) -> str:
    """The address of each kind of cluster."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def lab() -> Iterator[Lab]:
    with open_lab() as opened:
        yield opened
