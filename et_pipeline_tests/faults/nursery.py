"""A process that has imported everything and forks `et` commands: a real process each, without the start of Dagster.

It reads one request a line (JSON) from stdin and answers each with one line on stdout. A child leads a process
group of its own, runs the command line as `python -m et_pipeline` would, and dies where it is asked to.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from et_pipeline_tests.faults import points, sabotage

POLL_S = 0.002
SPARK = "et_pipeline.spark"
"""A tick on DuckDB never imports it, and what it brings along has threads that a fork would lose."""
ABSENT = ("pyarrow", "pyspark", "sqlglot")
"""What a plain installation lacks; pandera imports some of it, which takes seconds, wherever it is."""


def main() -> None:
    """Imports everything, then serves requests until stdin ends."""
    sys.modules.update(dict.fromkeys(ABSENT))  # type: ignore[arg-type]
    points.install()
    _import_everything()
    assert threading.active_count() == 1, f"a fork would lose {threading.enumerate()}"
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"status": _run(request)}), flush=True)


def _import_everything() -> None:
    import et_pipeline

    for module in pkgutil.walk_packages(et_pipeline.__path__, "et_pipeline."):
        if module.name != "et_pipeline.__main__" and not module.name.startswith(SPARK):
            importlib.import_module(module.name)
    from et_pipeline.definitions import defs

    for job in ("tick", "publish"):
        defs.resolve_job_def(job)


def _run(request: dict[str, Any]) -> int:
    """Forks a child for a request and waits for it; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        _become(request)
    os.setpgid(child, child)  # in both, since either may come first
    until = time.monotonic() + request["kill_after_s"] if request["kill_after_s"] is not None else None
    while True:
        ended, status = os.waitpid(child, 0 if until is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if until is not None and time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            until = None
        time.sleep(POLL_S)


def _become(request: dict[str, Any]) -> NoReturn:
    """The child: `et` with the request's arguments and environment."""
    os.setpgid(0, 0)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["et", *request["arguments"]]
    status: Any = 0
    try:
        from et_pipeline.cli import main as command_line

        sabotage.commit(request["sabotage"])
        points.arm(Path(request["trace"]), *request["die_at"])
        command_line()
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 (a traceback for whoever reads the output, as Python itself would)
        import traceback

        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    main()
