"""Reads on all cores: several threads parse and validate, and one thread writes the warehouse."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Full, Queue
from threading import Event
from typing import NamedTuple

import polars as pl

from et_pipeline.ingest.reader import Batch, read_snapshot
from et_pipeline.ingest.sources import Section

SECTION_BYTES = 32 * 1024 * 1024
MAX_WORKERS = 4
_AHEAD = 2
"""Largest number of batches of a task that wait in its queue."""


class Task(NamedTuple):
    """A file or a section of it, to be read."""

    path: Path
    section: Section | None


def tasks_of(path: Path, size: int) -> list[Task]:
    """The tasks of a file: sections of a plain file, the whole file if it is compressed or Parquet."""
    if not path.name.endswith(".ndjson") or size <= SECTION_BYTES:
        return [Task(path, None)]
    starts = range(0, size, SECTION_BYTES)
    return [Task(path, Section(start, min(start + SECTION_BYTES, size))) for start in starts]


def worker_count() -> int:
    """As many threads as there are cores for this process, up to `MAX_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_WORKERS, cores)


def read_files(files: list[tuple[Path, int]], workers: int) -> Generator[Iterator[Batch], None, None]:
    """Reads files, each to an iterator of its batches, in order.

    Args:
        files: Paths and sizes.
        workers: How many threads.

    Yields:
        For each file its batches, which must be read before those of the next file. Line numbers count from the
        beginning of the file.

    Raises:
        UnreadableError: A file cannot be read. It is raised while its batches are read, and ends the reading of all
            files.
    """
    per_file = [tasks_of(path, size) for path, size in files]
    with _Pool([task for tasks in per_file for task in tasks], workers) as pool:
        for tasks in per_file:
            yield _joined(pool, len(tasks))


def _joined(pool: _Pool, sections: int) -> Iterator[Batch]:
    """The batches of all sections of a file, with line numbers that count from the beginning of the file."""
    offset = 0
    for _ in range(sections):
        lines = 0
        for batch in pool.next_task():
            lines += batch.lines
            yield batch if not offset else _moved(batch, offset)
        offset += lines


def _moved(batch: Batch, offset: int) -> Batch:
    line = pl.col("line") + offset
    return batch._replace(reports=batch.reports.with_columns(line), bad=batch.bad.with_columns(line))


class _Pool:
    """Threads that read tasks ahead, in order; each task has a short queue of batches.

    Threads are enough, since most of the work is done in polars, which releases the interpreter's lock.
    """

    def __init__(self, tasks: list[Task], workers: int) -> None:
        self._waiting = iter(tasks)
        self._queues: deque[Queue[Batch | Exception | None]] = deque()
        self._stopped = Event()
        self._threads = ThreadPoolExecutor(workers)
        for _ in range(workers + 1):
            self._give()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def _give(self) -> None:
        task = next(self._waiting, None)
        if task is not None:
            queue: Queue[Batch | Exception | None] = Queue(maxsize=_AHEAD)
            self._queues.append(queue)
            self._threads.submit(self._run, task, queue)

    def next_task(self) -> Iterator[Batch]:
        """The batches of the next task."""
        queue = self._queues.popleft()
        while (message := queue.get()) is not None:
            if isinstance(message, Exception):
                raise message
            yield message
        self._give()

    def _run(self, task: Task, queue: Queue[Batch | Exception | None]) -> None:
        try:
            for batch in read_snapshot(*task):
                self._put(queue, batch)
                if self._stopped.is_set():
                    return
            self._put(queue, None)
        except Exception as error:  # noqa: BLE001 (raised again where the task is consumed)
            self._put(queue, error)

    def _put(self, queue: Queue[Batch | Exception | None], message: Batch | Exception | None) -> None:
        while not self._stopped.is_set():
            try:
                queue.put(message, timeout=0.1)
            except Full:
                continue
            return
