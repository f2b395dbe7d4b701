"""Launches runs on the code server's machine and notices when that machine died with one."""

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
    """The default launcher, whose runs can be asked after.

    A run is a process beside the code server, where the warehouse's disk is. When only that process dies, the
    code server says so; when the server or its whole machine dies, nobody does, and the run would hold its
    pools for ever. Here run monitoring asks the server that was given the run: one that does not know it any
    more has been started again without it, and one that gives no answer for `patience_seconds` is gone. The run
    then counts as failed and its pools are free. Should it be alive after all, the warehouse's lock still
    keeps the next one out.

    The server is one started by `dagster api grpc`: the proxy of `dagster code-server start` does not tell its
    runs, and then a run counts as alive, as with the default launcher.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None, patience_seconds: int = 120) -> None:
        super().__init__(inst_data)
        self._patience_s = patience_seconds
        self._silent_since: dict[str, float] = {}

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """What stands under `config` in `dagster.yaml`."""
        return {"patience_seconds": dg.Field(int, is_required=False, default_value=120)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> CodeServerRunLauncher:
        """The launcher that `dagster.yaml` describes."""
        return cls(inst_data, **config_value)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the server that was given a run still runs it."""
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
