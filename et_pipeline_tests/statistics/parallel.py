"""Seeded experiments on several processes: the result depends on the seed and on nothing else."""

from __future__ import annotations

import argparse
import multiprocessing
import site
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
"""Where the workers find these modules when pytest did not put it on their path."""


T = TypeVar("T")


def repeat(
    experiment: Callable[[np.random.SeedSequence], T], times: int, seed: int, processes: int
) -> list[T]:
    """Runs an experiment with as many seeds, spawned from one."""
    with spread(processes) as over:
        return over(experiment, np.random.SeedSequence(seed).spawn(times))


Over = Callable[[Callable[[np.random.SeedSequence], T], Sequence[np.random.SeedSequence]], list[T]]


@contextmanager
def spread(processes: int) -> Iterator[Over[Any]]:
    """Runs experiments in this process, or on several that each compute on one thread.

    A further process costs the processor a second or two before its first experiment.
    Threads of a linear-algebra library that wait for each other on cores which other workers use made a
    simulation of small matrices more than ten times slower.
    """
    if processes == 1:
        yield lambda experiment, seeds: [experiment(seed) for seed in seeds]
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, site.addsitedir, (str(ROOT),)) as pool:
            yield lambda experiment, seeds: list(
                pool.map(experiment, seeds, chunksize=max(1, len(seeds) // (8 * processes)))
            )


def options(description: str | None, experiments: int) -> argparse.Namespace:
    """Command-line options of a simulation."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--experiments", type=int, default=experiments)
    parser.add_argument("--seed", type=int, default=20260401)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    return parser.parse_args()


def line(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def heading(cells: list[str]) -> str:
    """A table's first two lines; its first column is text, the others are numbers."""
    return line(cells) + "\n" + line(["---"] + ["--:"] * (len(cells) - 1))


def rate(hits: list[bool]) -> str:
    """A rate with its Monte Carlo standard error."""
    share = float(np.mean(hits))
    return f"{share:.3f} ± {np.sqrt(share * (1 - share) / len(hits)):.3f}"
