"""The moments at which a tick can die, counted while it runs; it dies at the one it is asked to die at.

This runs inside the process under test. Product code knows nothing of it: what makes a moment (a transaction,
a rename, a copy, a message sent) is wrapped before the modules that use it are imported.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class _Armed:
    """What this process was asked for; a process that was asked for nothing counts nothing."""

    trace: int | None = None
    moment: str | None = None
    left = 0
    delay_s = 0.0


def arm(trace: Path, moment: str | None, occurrence: int, delay_s: float) -> None:
    """Begins to watch.

    Args:
        trace: The file that every moment is written to as it is reached, one line each.
        moment: The moment to die at; None to live.
        occurrence: The how-manieth of them, from 1.
        delay_s: How long after the beginning of something that takes time it dies, for such a moment.
    """
    _Armed.trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    _Armed.moment, _Armed.left, _Armed.delay_s = moment, occurrence, delay_s


def die() -> None:
    """SIGKILL to the whole process group: nothing is cleaned up."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def reach(moment: str) -> None:
    """A moment is reached; this may be the last one."""
    if _next(moment):
        die()


def begin(moment: str) -> None:
    """Something that takes time begins; the end may come in the middle of it."""
    if _next(moment):
        threading.Thread(target=_die_later, daemon=True).start()


def _next(moment: str) -> bool:
    if _Armed.trace is None:
        return False
    os.write(_Armed.trace, f"{moment}\n".encode())
    if moment == _Armed.moment:
        _Armed.left -= 1
    return moment == _Armed.moment and _Armed.left == 0


def _die_later() -> None:
    time.sleep(_Armed.delay_s)
    die()


def install() -> None:
    """Wraps everything that makes a moment; call it before anything of the pipeline is imported."""
    if any(name.startswith("et_pipeline.") for name in sys.modules):
        raise RuntimeError("the pipeline is imported already: its modules hold the functions to be wrapped")
    # Compiled modules and templates are written once on a machine, not once in a tick.
    sys.dont_write_bytecode = True
    _wrap_files()
    _wrap_warehouse()
    _wrap_publishing()


def _wrap_files() -> None:
    os.replace = around(os.replace, lambda source, target: f"rename: {_place(target)}")
    os.link = around(os.link, lambda source, target, **_: f"link: {_place(target)}")
    copy, write = os.copy_file_range, os.pwrite

    def copy_half_first(source: int, target: int, count: int) -> int:
        if os.fstat(target).st_size:
            return copy(source, target, count)
        done = copy(source, target, max(1, count // 2))
        reach("copy: half of it")
        return done

    def write_half_first(target: int, data: bytes, offset: int) -> int:
        half = len(data) // 2
        write(target, data[:half], offset)
        reach("copy: half of a difference")
        return half + write(target, data[half:], offset + half)

    os.copy_file_range = copy_half_first
    os.pwrite = write_half_first


def _wrap_warehouse() -> None:
    from et_pipeline.warehouse import connection as warehouse

    transaction, connected = warehouse.transaction, warehouse.connected

    @contextmanager
    def counted_transaction(connection: Any) -> Iterator[Any]:
        where = _caller()
        reach(f"transaction: before {where}")
        with transaction(connection):
            reach(f"transaction: inside {where}, begun")
            yield connection
            reach(f"transaction: inside {where}, all written")
            begin(f"transaction: commit of {where}")
        reach(f"transaction: after {where}")

    @contextmanager
    def counted_connection(*arguments: Any) -> Iterator[Any]:
        where = _caller()
        begin(f"warehouse: opening for {where}")
        with connected(*arguments) as connection:
            yield connection
            begin(f"warehouse: closing after {where}")
        reach(f"warehouse: closed after {where}")

    checkpointed = warehouse.checkpointed

    def counted_checkpoint(*arguments: Any) -> int:
        begin(f"analyst copy: checkpoint for {_caller()}")
        return checkpointed(*arguments)

    warehouse.checkpointed = counted_checkpoint
    warehouse.transaction = counted_transaction
    warehouse.connected = counted_connection


def _wrap_publishing() -> None:
    from et_pipeline.publishing import delivery
    from et_pipeline.publishing import file_outbox as outbox_files
    from et_pipeline.publishing import http_registry as registry

    outbox_files.FileOutbox._send = around(outbox_files.FileOutbox._send, lambda *_: "message: to a file")
    registry.HttpRegistry._send = around(registry.HttpRegistry._send, lambda *_: "message: to the registry")
    delivery.record = around(delivery.record, lambda *_: "message: recording what became of it")


def around(function: Callable[..., Any], moment: Callable[..., str]) -> Callable[..., Any]:
    """A function with a moment before it and one after it, named by what it is called with."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        what = moment(*arguments, **named)
        reach(f"{what}, before")
        result = function(*arguments, **named)
        reach(f"{what}, after")
        return result

    return wrapped


def _place(target: Any) -> str:
    """A file as the same in every run: its folder, and its name without what hashes and ids make of it."""
    path = Path(target)
    return f"{path.parent.name}/{path.name if len(path.stem) < 32 else '*' + path.suffix}"


def _caller() -> str:
    """The function of the pipeline that is behind the call, for people."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("et_pipeline.") and name != "et_pipeline.warehouse.connection":
            return f"{name.removeprefix('et_pipeline.')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"
