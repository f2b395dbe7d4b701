"""The house metrics as a Prometheus text file, `published/metrics.prom`.

Everything is counted in the warehouse and not in the process, so counters survive restarts and agree with the
tables. The textfile collector of a node exporter can read the folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from et_pipeline.common.files import write_atomically
from et_pipeline.common.sql import load
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.messages import BOT_ID
from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.governance.stall import NATS, REPORT_BUS, open_outages
from et_pipeline.publishing.routes import ROUTES
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import duckdb

BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0)
"""Upper bounds of the latency histogram, in seconds."""
INPUTS = (REPORT_BUS, NATS)


class HouseMetrics(Collector):
    """Reads the metrics from the warehouse each time they are collected."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
        self._connection, self._settings = connection, settings

    def collect(self) -> Iterator[Metric]:
        """The five families of metrics that all bots of the team have."""
        yield self._invocations()
        yield self._errors()
        yield self._latency()
        outages = {outage.source for outage in open_outages(self._connection)}
        yield _gauge(
            "polytraders_bot_inputs_stale",
            "1 where no new snapshot came for longer than ET_STALL_AFTER, or a source of reports cannot be reached.",
            "input",
            {source: int(source in outages or self._stale(source)) for source in INPUTS},
        )
        destinations = dict.fromkeys(ROUTES.values(), 0) | dict(self._rows("house_destinations"))
        yield _gauge(
            "polytraders_bot_dependency_unavailable",
            "1 where a source of reports cannot be reached, or the newest message to a destination failed.",
            "dependency",
            {f"input:{source}": int(source in outages) for source in INPUTS}
            | {f"output:{name}": int(unavailable) for name, unavailable in destinations.items()},
        )

    def _rows(self, name: str, parameters: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(load(__package__, name), parameters or {}).fetchall()

    def _invocations(self) -> Metric:
        family = CounterMetricFamily(
            "polytraders_bot_invocations",
            "Messages by decision (explain, drift_signal, promotion_review) and reason code.",
            labels=["bot_id", "decision", "reason_code"],
        )
        counts: dict[tuple[str, str], int] = {("explain", code.code): 0 for code in REASON_CODES}
        counts |= {("drift_signal", ""): 0, ("promotion_review", ""): 0}
        counts |= {(decision, code): count for decision, code, count in self._rows("house_invocations")}
        for (decision, code), count in counts.items():
            family.add_metric([BOT_ID, decision, code], count)
        return family

    def _errors(self) -> Metric:
        family = CounterMetricFamily(
            "polytraders_bot_errors",
            "Lines in quarantine, failed delivery attempts, messages that are no longer tried (dead letters).",
            labels=["bot_id", "error"],
        )
        for error, count in self._rows("house_errors"):
            family.add_metric([BOT_ID, error], count)
        return family

    def _latency(self) -> Metric:
        family = HistogramMetricFamily(
            "polytraders_bot_latency_seconds",
            "Seconds from a decision to the first delivery of its message.",
            labels=["bot_id"],
        )
        rows = self._rows("house_latency", {"bounds": [*BOUNDS, math.inf]})
        buckets = [("+Inf" if bound == math.inf else str(bound), count) for bound, count, _ in rows]
        family.add_metric([BOT_ID], buckets, sum_value=rows[-1][2])
        return family

    def _stale(self, source: str) -> bool:
        patience = self._settings.stall_after_us
        if patience is None or source != "report_bus":
            return False
        row = self._connection.execute("SELECT max(ingested_at) FROM snapshots").fetchone()
        if row is None or row[0] is None:
            return True
        now = naive_utc(self._settings.now())
        return bool(now - row[0] > timedelta(microseconds=patience))


def _gauge(name: str, help_text: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=["bot_id", label])
    for key, value in values.items():
        family.add_metric([BOT_ID, key], value)
    return family


def write_metrics(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Path:
    """Writes the metrics from the warehouse; a reader sees either the old file or the new one.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    registry = CollectorRegistry()
    registry.register(HouseMetrics(connection, settings))
    write_atomically(settings.metrics_path, generate_latest(registry), public=True)
    return settings.metrics_path
