"""A standalone Spark cluster on this machine: a master, two workers and a Spark Connect server, each in its own
process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from et_pipeline_tests.waiting import wait_for

START_SECONDS = 120.0
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Compiles at once and lightly: the processes end before more would pay."""
CONFIGURATION = {
    "spark.driver.extraJavaOptions": JAVA,
    "spark.executor.extraJavaOptions": JAVA,
    "spark.executor.cores": "1",
    "spark.executor.memory": "1g",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}


class Cluster:
    """What runs.

    Attributes:
        url: The Spark Connect server.
    """

    def __init__(self, home: str, folder: Path, stack: ExitStack) -> None:
        self._home, self._folder, self._stack = home, folder, stack
        master, connect = free_port(), free_port()
        self._master = f"spark://127.0.0.1:{master}"
        self.url = f"sc://127.0.0.1:{connect}"
        self._class(
            "master", "org.apache.spark.deploy.master.Master", "--port", str(master), "--webui-port", "0"
        )
        until(lambda: listening(master), "the master does not listen")
        self._workers = [self._start_worker(), self._start_worker()]
        options = CONFIGURATION | {"spark.connect.grpc.binding.port": str(connect)}
        self._start(
            "connect",
            "spark-submit",
            *("--master", self._master, "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            *(part for item in options.items() for part in ("--conf", "=".join(item))),
            "spark-internal",
        )
        until(lambda: listening(connect), "the Spark Connect server does not listen")

    def replace_worker(self) -> None:
        """Kills the worker that is here longest, with its executors, and starts another one."""
        kill(self._workers.pop(0))
        self._workers.append(self._start_worker())

    def _start_worker(self) -> subprocess.Popen[bytes]:
        """A further worker with one core; its executors are its children."""
        name = f"worker-{time.monotonic_ns()}"
        options = (
            "--cores",
            "1",
            "--memory",
            "1g",
            "--webui-port",
            "0",
            "--work-dir",
            str(self._folder / name),
        )
        worker = self._class(name, "org.apache.spark.deploy.worker.Worker", *options, self._master)
        until(lambda: b"Successfully registered" in self._log(name), f"{name} does not register")
        return worker

    def _class(self, name: str, java: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self._start(name, "spark-class", java, "--host", "127.0.0.1", *arguments)

    def _start(self, name: str, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "SPARK_HOME": self._home,
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self._folder / "local"),
            "SPARK_CONF_DIR": str(self._folder),
        }
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [f"{self._home}/bin/{program}", *arguments],
            env=environment,
            cwd=self._folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._stack.callback(kill, process)
        return process

    def _log(self, name: str) -> bytes:
        return (self._folder / f"{name}.log").read_bytes()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and to all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def until(done: Callable[[], bool], otherwise: str) -> None:
    """Waits until something of the cluster is up or under way."""
    wait_for(done, START_SECONDS, lambda: otherwise)


@contextmanager
def standalone(folder: Path) -> Iterator[Cluster]:
    """A cluster that ends with the test."""
    home = os.environ.get("SPARK_HOME")
    assert home and Path(home, "bin", "spark-class").exists(), (
        "SPARK_HOME is no Spark distribution; use make test-spark"
    )
    with ExitStack() as stack:
        yield Cluster(home, folder, stack)
