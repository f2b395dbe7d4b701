"""`et` as processes that can be killed: forked from one that has imported everything, or started by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from et_pipeline_tests.conftest import PROJECT


class Blow(NamedTuple):
    """A kill that is wanted.

    Attributes:
        moment: The moment to die at, see `points.py`; `AT_RANDOM` or `FROM_ITS_START` for any.
        occurrence: The how-manieth of those moments.
        delay_s: How long after it, where it begins something that takes time; how long after the start, for
            any moment.
    """

    moment: str
    occurrence: int = 1
    delay_s: float = 0.0


class Run(NamedTuple):
    """How one run of a command ended.

    Attributes:
        status: Its exit status, negative for the signal that ended it.
        reached: The moments it reached, the last one where it died.
        output: What it printed.
    """

    status: int
    reached: list[str]
    output: str

    @property
    def killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.status == -signal.SIGKILL


class Nursery:
    """The process that forks commands, see `nursery.py`; use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = {**clean_environment(), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "et_pipeline_tests.faults.nursery"],
            cwd=PROJECT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._answer()

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def et(
        self,
        *arguments: str,
        environment: dict[str, str],
        die_at: Blow | None = None,
        kill_after_s: float | None = None,
        sabotage: str | None = None,
    ) -> Run:
        """Runs one command in a forked process.

        Args:
            arguments: Of `et`.
            environment: Its `ET_*` variables.
            die_at: The moment to die at.
            kill_after_s: Kill it after so long, wherever it is.
            sabotage: A mistake to make in it, see `sabotage.py`.
        """
        trace, output = self._folder / "trace", self._folder / "output"
        trace.unlink(missing_ok=True)
        assert self._process.stdin is not None
        request = {
            "arguments": arguments,
            "environment": {**clean_environment(), **environment},
            "die_at": die_at or Blow("", 0),
            "kill_after_s": kill_after_s,
            "sabotage": sabotage,
            "trace": str(trace),
            "output": str(output),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = self._answer()["status"]
        reached = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
        return Run(status, reached, output.read_text(encoding="utf-8", errors="replace"))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the nursery ended with status {self._process.wait()}")
        return dict(json.loads(line))


def clean_environment() -> dict[str, str]:
    """The environment without settings of the pipeline."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ET_") and name != "DAGSTER_HOME"
    }


def et_killed(settings: dict[str, str], after_s: float) -> Run:
    """The real `python -m et_pipeline tick`, killed with its process group after so long."""
    process = subprocess.Popen(
        [sys.executable, "-m", "et_pipeline", "tick"],
        cwd=PROJECT, env={**clean_environment(), **settings},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return Run(process.wait(), [], "")
