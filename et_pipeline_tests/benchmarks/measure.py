"""How the benchmarks measure: each side runs in a process of its own, in turn; time and peak memory come from the
system."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

RUNTIME_PYTHON = str(Path(os.environ.get("RUNTIME_PYTHON", sys.executable)).absolute())
"""What runs the commands that people run: an environment without what only tests need, where there is one."""


class Sample(NamedTuple):
    """One finished process.

    Attributes:
        seconds: What it said it took, or else its wall time.
        peak_mib: Largest resident size, in MiB.
        processor: Seconds of processor time that the whole process took.
        output: What it printed last, as JSON, where it is an object.
    """

    seconds: float
    peak_mib: float
    processor: float
    output: dict[str, float]


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        what: What is measured.
        ours: Median seconds.
        baseline: What it is held against.
        theirs: Median seconds of the baseline.
        target: Largest ratio allowed, None where it is only told.
        peak_mib: Our largest peak memory.
        remark: What else was seen.
    """

    what: str
    ours: float
    baseline: str
    theirs: float
    target: float | None
    peak_mib: float
    remark: str = ""

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.theirs


def rows_of(module: str) -> list[Row]:
    """The rows of one benchmark, each told as soon as it is there."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="et-bench-") as folder:
        for row in import_module(f"{__package__}.{module}").rows(Path(folder)):
            print(f"{row.what}: {row.ratio:.2f} times {row.baseline}", file=sys.stderr, flush=True)
            rows.append(row)
    return rows


def run(arguments: Sequence[str], environment: dict[str, str] | None = None) -> Sample:
    """Runs one process to its end.

    A process may print a last line such as `{"seconds": 1.5}` to say how long the part of it took that counts.

    Raises:
        RuntimeError: It failed; the message is what it wrote to stderr.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        process = subprocess.Popen(
            list(arguments), stdout=out, stderr=error, text=True, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        error.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments[:3])} failed: {error.read()[-2000:]}")
        last = out.read().strip().splitlines()[-1:] or [""]
    output: dict[str, float] = json.loads(last[0]) if last[0].startswith("{") else {}
    return Sample(output.get("seconds", wall), _mib(usage), usage.ru_utime + usage.ru_stime, output)


def pair(
    ours: Sequence[str], theirs: Sequence[str], *, runs: int = 3, environment: dict[str, str] | None = None
) -> tuple[list[Sample], list[Sample]]:
    """Runs two commands in turn, ours and theirs, so that a slow minute of the machine hits both."""
    samples = [(run(ours, environment), run(theirs, environment)) for _ in range(runs)]
    return [one for one, _ in samples], [other for _, other in samples]


def median(samples: Sequence[Sample]) -> float:
    """The median of their seconds."""
    return statistics.median(sample.seconds for sample in samples)


def processor(samples: Sequence[Sample]) -> float:
    """The median of their seconds of processor time."""
    return statistics.median(sample.processor for sample in samples)


def finish(seconds: float, **more: float) -> None:
    """Prints what a measured process has to say: its seconds, and what else counts."""
    print(json.dumps({"seconds": seconds, **more}))


def _mib(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| what | ours | baseline | theirs | ratio | held to | peak memory | remark |",
        "|---|---:|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        target = "" if row.target is None else f"≤ {row.target:g}"
        missed = " **missed**" if row.target is not None and row.ratio > row.target else ""
        lines.append(
            f"| {row.what} | {row.ours:.2f} s | {row.baseline} | {row.theirs:.2f} s | {row.ratio:.2f}{missed} "
            f"| {target} | {row.peak_mib:,.0f} MiB | {row.remark} |"
        )
    return "\n".join(lines)
