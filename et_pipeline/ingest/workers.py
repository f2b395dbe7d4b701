"""Reading on every core: processes that parse and validate, feeding the one that owns the warehouse.

A large plain file is cut into sections, any other file is one task. The workers are processes of this
interpreter running this module; tasks go in and batches come out over pipes, pickled, in the tasks' order.
`multiprocessing` is not used: it would import the caller's main module (Dagster's, the CLI's) in each of them.
"""

from __future__ import annotations

import gc
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO, Any, NamedTuple, cast

import polars as pl

from et_pipeline.ingest.reader import Batch, read_snapshot
from et_pipeline.ingest.sources import Section, UnreadableError

SECTION_BYTES = 16 * 1024 * 1024
PARALLEL_BYTES = 48 * 1024 * 1024
"""Less than this to read is done here: starting workers takes longer."""
MAX_WORKERS = 4
_AHEAD = 2
"""Tasks a worker has been given beyond the one it is at, and messages of it that may wait."""


class WorkerError(RuntimeError):
    """A worker ended unexpectedly (killed, or out of memory)."""


class Task(NamedTuple):
    """A file or a section of it, to be read."""

    path: Path
    section: Section | None
    latest: datetime


def tasks_of(path: Path, size: int, latest: datetime) -> list[Task]:
    """A file as tasks: sections of a plain file, the whole of any other."""
    if not path.name.endswith(".ndjson") or size <= SECTION_BYTES:
        return [Task(path, None, latest)]
    starts = range(0, size, SECTION_BYTES)
    return [Task(path, Section(start, min(start + SECTION_BYTES, size)), latest) for start in starts]


def worker_count(size: int) -> int:
    """How many workers so many bytes are worth; 0 is none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_WORKERS, cores) if size >= PARALLEL_BYTES and cores > 1 else 0


def read_files(
    files: list[tuple[Path, int]], latest: datetime, workers: int
) -> Generator[Iterator[Batch], None, None]:
    """Reads files, each to an iterator of its batches, in order.

    Args:
        files: Paths and sizes.
        latest: The latest moment that `emitted_at` may name.
        workers: How many processes; 0 reads here.

    Yields:
        Per file its batches, to be read before the next one; line numbers count through the file.

    Raises:
        UnreadableError: While the batches of a file are read; then the whole reading is over.
        WorkerError: A worker died.
    """
    if not workers:
        for path, _ in files:
            yield read_snapshot(path, latest)
        return
    per_file = [tasks_of(path, size, latest) for path, size in files]
    with _Pool([task for tasks in per_file for task in tasks], workers) as pool:
        for tasks in per_file:
            yield _joined(pool, len(tasks))


def _joined(pool: _Pool, sections: int) -> Iterator[Batch]:
    """The sections of one file as one, with line numbers that count through it."""
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
    """Worker processes with their tasks: the n-th task belongs to worker n modulo their number."""

    def __init__(self, tasks: list[Task], workers: int) -> None:
        self._tasks = tasks
        self._workers = [_Worker() for _ in range(min(workers, len(tasks)))]
        self._next = 0
        self._given = 0

    def __enter__(self) -> _Pool:
        self._give()
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for worker in self._workers:
                stack.callback(worker.close)

    def _give(self) -> None:
        until = min(len(self._tasks), self._next + len(self._workers) * (1 + _AHEAD))
        for number in range(self._given, until):
            self._workers[number % len(self._workers)].give(self._tasks[number])
        self._given = max(self._given, until)

    def next_task(self) -> Iterator[Batch]:
        """The batches of the next task."""
        worker = self._workers[self._next % len(self._workers)]
        self._next += 1
        while (message := worker.take()) is not None:
            yield message
        self._give()


class _Worker:
    def __init__(self) -> None:
        # one thread for polars in each: the workers themselves fill the cores
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
        )
        self._tasks = cast("IO[bytes]", self._process.stdin)
        self._messages: Queue[Any] = Queue(maxsize=_AHEAD)
        self._closing = False
        self._drain = Thread(
            target=self._drained, args=(cast("IO[bytes]", self._process.stdout),), daemon=True
        )
        self._drain.start()

    def _drained(self, stream: IO[bytes]) -> None:
        """Takes messages off the pipe, so that the worker can go on while this process writes."""
        try:
            while not self._closing:
                self._messages.put(pickle.load(stream))
        except (EOFError, pickle.UnpicklingError):
            self._messages.put(
                WorkerError("a worker that reads snapshots ended unexpectedly; see its message above")
            )

    def give(self, task: Task) -> None:
        try:
            pickle.dump(task, self._tasks)
            self._tasks.flush()
        except BrokenPipeError as error:
            raise WorkerError(
                "a worker that reads snapshots ended unexpectedly; see its message above"
            ) from error

    def take(self) -> Batch | None:
        """The next batch of the task at hand; None at its end."""
        message = self._messages.get()
        if isinstance(message, Exception):
            raise message
        return None if message is None else _unpacked(message)

    def close(self) -> None:
        self._closing = True
        self._process.kill()
        while self._drain.is_alive():
            while not self._messages.empty():
                self._messages.get()
            self._drain.join(timeout=0.05)
        self._process.communicate()


def _packed(batch: Batch) -> tuple[bytes, bytes, Batch]:
    frames = []
    for frame in (batch.reports, batch.bad):
        stream = io.BytesIO()
        frame.write_ipc_stream(stream, compat_level=pl.CompatLevel.newest())
        frames.append(stream.getvalue())
    return frames[0], frames[1], batch._replace(reports=None, bad=None)  # type: ignore[arg-type]


def _unpacked(message: tuple[bytes, bytes, Batch]) -> Batch:
    reports, bad, batch = message
    return batch._replace(reports=pl.read_ipc_stream(reports), bad=pl.read_ipc_stream(bad))


def serve() -> None:
    """A worker's life: reads tasks from standard input until there are no more, and sends what it finds."""
    gc.disable()  # columns of texts hold no cycles
    tasks, results = sys.stdin.buffer, sys.stdout.buffer

    def send(message: object) -> None:
        pickle.dump(message, results, protocol=pickle.HIGHEST_PROTOCOL)
        results.flush()

    while True:
        try:
            task: Task = pickle.load(tasks)  # from our own parent process
        except EOFError:
            return
        try:
            for batch in read_snapshot(task.path, task.latest, task.section):
                send(_packed(batch))
        except UnreadableError as error:
            send(error)
        else:
            send(None)
