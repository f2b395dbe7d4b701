"""Launches runs on the code server's machine, and finds out if that machine died during a run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._config.config_schema import UserConfigSchema
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import ConfigurableClassData, deserialize_value


class CodeServerRunLauncher(dg.DefaultRunLauncher):
    """The default launcher, extended so that run monitoring can check whether a run is alive.

    A run is a process beside the code server, on the machine with the warehouse's disk. If only that process dies, the
    code server reports it. If the server or its whole machine dies, nobody does, and the run would hold its pools for
    ever. With this launcher, run monitoring asks the server that started the run. If the server does not know the run
    any more, it was started again without it; if it does not answer for `patience_seconds`, it is dead. The run then
    counts as failed and its pools are free. If the run is still alive after all, the warehouse's lock keeps the next
    run from using the warehouse.

    The server has to be one started by `dagster api grpc`. The proxy of `dagster code-server start` does not list its
    runs; there a run counts as alive, as with the default launcher.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, patience_seconds: int = 120) -> None:
        super().__init__(inst_data)
        self._patience_s = patience_seconds
        self._silent_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The schema of `config` in `dagster.yaml`."""
        return {"patience_seconds": dg.Field(int, is_required=False, default_value=120)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> CodeServerRunLauncher:
        """The launcher that `dagster.yaml` describes."""
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True, so that run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the server that started a run still runs it."""
        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it runs inside the process that started it")
        server = json.loads(run.tags[GRPC_INFO_TAG])
        where = server.get("socket") or f"{server['host']}:{server['port']}"
        try:
            known = _current_runs(server)
        except DagsterUserCodeUnreachableError as error:
            if "UNIMPLEMENTED" in str(error):
                return CheckRunHealthResult(WorkerStatus.RUNNING, f"{where} does not tell its runs")
            now = time.monotonic()
            silent_s = now - self._silent_since.setdefault(run.run_id, now)
            status = WorkerStatus.RUNNING if silent_s < self._patience_s else WorkerStatus.NOT_FOUND
            return CheckRunHealthResult(status, f"no answer from {where} for {silent_s:.0f} s")
        self._silent_since.pop(run.run_id, None)
        if run.run_id in known:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"{where} was started again without it")


def _current_runs(server: Mapping[str, Any]) -> set[str]:
    client = DagsterGrpcClient(
        host=server["host"],
        port=server.get("port"),
        socket=server.get("socket"),
        use_ssl=bool(server.get("use_ssl")),
    )
    return set(deserialize_value(client.get_current_runs(), GetCurrentRunsResult).current_runs)
