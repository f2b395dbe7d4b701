"""A migrated warehouse in memory, plans and reports written straight into their tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import duckdb
import polars as pl

from et_pipeline.common.sql import append
from et_pipeline.contracts.metrics import REPORT_METRICS, metric_of
from et_pipeline_tests.migrated import fill

START = datetime(2026, 11, 1)


def key(*parts: str) -> int:
    """A key as ingest makes it: 64 bits of a hash."""
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest())


class Lab:
    """A warehouse to pair in."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.batch = 0

    def plan(
        self, experiment_id: str = "exp", metrics: Mapping[str, Any] | None = None, **changes: Any
    ) -> str:
        """Registers an experiment; `metrics` maps names to winsor limits or None."""
        row = {
            "experiment_id": experiment_id,
            "plan_hash": "h",
            "title": "t",
            "hypothesis": "h",
            "owner": "o",
            "mode": "shadow",
            "control_strategy_id": "c",
            "control_config_version": None,
            "variant_strategy_id": "v",
            "variant_config_version": None,
            "traffic_split_pct": 10,
            "min_samples_for_decision": 100,
            "planned_pairs": 1000,
            "expected_clusters": 100,
            "planned_blocks": 720,
            "starts_at": START,
            "ends_at": START + timedelta(days=30),
            "alpha": 0.05,
            "alarm_alpha": 0.05,
            "time_block_us": 3_600_000_000,
            "matching": "correlation",
            "tolerance_us": None,
            "on_no_trade": "exclude",
            "request_review": False,
            "approvers": 1,
            "allow_self_approval": False,
            "g": 10.0,
            "plan": "{}",
            "path": "p",
            "registered_at": START,
        } | changes
        self.connection.execute("DELETE FROM experiments WHERE experiment_id = ?", [experiment_id])
        self.connection.execute("DELETE FROM experiment_metrics WHERE experiment_id = ?", [experiment_id])
        self.connection.execute(
            f"INSERT INTO experiments ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            list(row.values()),
        )
        for position, (name, limits) in enumerate((metrics or {"edge_bps": None}).items()):
            self.connection.execute(
                "INSERT INTO experiment_metrics VALUES (?, ?, ?, ?, NULL, NULL, ?, ?)",
                [
                    experiment_id,
                    name,
                    "secondary" if position else "primary",
                    "ratio" if metric_of(name).is_ratio else "mean",
                    *(limits or (None, None)),
                ],
            )
        return experiment_id

    def ingest(self, *reports: Mapping[str, Any], displaced: Collection[Mapping[str, Any]] = ()) -> int:
        """One ingest transaction: new reports, and reports that a conflict takes out again."""
        self.batch += 1
        for item in displaced:
            self.connection.execute("DELETE FROM reports WHERE report_id = ?", [item["report_id"]])
        self._insert("displaced", [{name: item[name] for name in DISPLACED} for item in displaced])
        self._insert("reports", reports)
        return self.batch

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(text).fetchall()

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that pairing made, in one order: equal states are equal to the last bit."""
        return {
            name: self.rows(f"SELECT * FROM {name} ORDER BY ALL")
            for name in ("pairs", "unmatched", "series_cells", "missing_values", "arm_progress")
        }

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of this batch. What a row does not name gets the column's default, so only those alike go together."""
        for _, alike in groupby(rows, key=tuple):
            frame = pl.DataFrame(list(alike), schema_overrides=KEYS, infer_schema_length=None)
            frame = frame.select(
                pl.exclude(pl.Null), batch=self.batch
            )  # DuckDB takes no column without a type
            append(self.connection, table, frame)


KEYS = {"report_key": pl.UInt64, "opportunity_key": pl.UInt64}
DISPLACED = (
    "report_id", "strategy_id", "config_version", "mode", "correlation_id", "market_id", "outcome_id", "side",
    "emitted_at", "opportunity_key",
)  # fmt: skip


def report(report_id: str, correlation_id: str, seconds: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A control report; `variant_report` makes the variant's."""
    row: dict[str, Any] = {
        "report_id": report_id,
        "schema_version": "1.0",
        "bot_id": "exec.bot",
        "strategy_id": "c",
        "config_version": "1",
        "mode": "live",
        "correlation_id": correlation_id,
        "market_id": "m1",
        "outcome_id": "yes",
        "side": "BUY",
        "emitted_at": START + timedelta(microseconds=round(seconds * 1e6)),
        "extra": None,
        "content_hash": 0,
        "snapshot_id": 1,
        "line": 1,
        "edge_bps": 1.0,
    } | changes
    opportunity = (row["correlation_id"], row["market_id"], row["outcome_id"], row["side"])
    return (
        dict.fromkeys(REPORT_METRICS)
        | row
        | {"report_key": key(report_id), "opportunity_key": key(*opportunity)}
    )


def variant_report(
    report_id: str, correlation_id: str, seconds: float = 0.0, **changes: Any
) -> dict[str, Any]:
    """A replayed report of the variant."""
    return report(report_id, correlation_id, seconds, **{"strategy_id": "v", "mode": "replay"} | changes)


def replayed_report(
    report_id: str, correlation_id: str, seconds: float = 0.0, **changes: Any
) -> dict[str, Any]:
    """What the backtester made of the control's own trade."""
    return report(report_id, correlation_id, seconds, **{"mode": "replay"} | changes)


@contextmanager
def open_lab() -> Iterator[Lab]:
    """An empty warehouse in memory with the newest schema."""
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        fill(connection)
        yield Lab(connection)
