"""How the benchmarks measure: each side in a process of its own, in turn, time and peak memory from the system."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Sample(NamedTuple):
    """One finished process.

    Attributes:
        seconds: What it said it took, or else its wall time.
        peak_mib: Largest resident size, in MiB.
        output: What it printed last, as JSON, where it is an object.
    """

    seconds: float
    peak_mib: float
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


def run(arguments: Sequence[str], environment: dict[str, str] | None = None) -> Sample:
    """Runs one process to its end.

    A process may print a last line such as `{"seconds": 1.5}` to say how long the part of it took that counts.

    Raises:
        RuntimeError: It failed; the message is what it wrote to stderr.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    ) as process:
        out, error = process.communicate()
        wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments[:3])} failed: {error[-2000:]}")
    output: dict[str, float] = {}
    last = out.strip().splitlines()[-1:] or [""]
    if last[0].startswith("{"):
        output = json.loads(last[0])
    return Sample(output.get("seconds", wall), output.get("peak_mib", 0.0), output)


def pair(
    ours: Sequence[str], theirs: Sequence[str], *, runs: int = 3, environment: dict[str, str] | None = None
) -> tuple[list[Sample], list[Sample]]:
    """Runs two commands in turn, ours and theirs, so that a slow minute of the machine hits both."""
    samples = [(run(ours, environment), run(theirs, environment)) for _ in range(runs)]
    return [one for one, _ in samples], [other for _, other in samples]


def median(samples: Sequence[Sample]) -> float:
    """The median of their seconds."""
    return statistics.median(sample.seconds for sample in samples)


def finish(seconds: float, **more: float) -> None:
    """Prints what a measured process has to say: its seconds, its peak memory, and what else counts."""
    scale = 1024 if sys.platform == "linux" else 1024 * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(json.dumps({"seconds": seconds, "peak_mib": peak, **more}))


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
