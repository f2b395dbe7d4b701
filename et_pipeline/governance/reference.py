"""Tables about the bot itself: its reason codes, the strategies that use it, and the allowed mode."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from et_pipeline.common.sql import load
from et_pipeline.contracts.reason_codes import REASON_CODES
from et_pipeline.governance.contract import contract_fingerprint
from et_pipeline.warehouse import audit

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings


def record_mode(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> None:
    """Records in the audit log if the mode that the configuration allows changed."""
    row = connection.execute(
        "SELECT arg_max(detail->>'$.mode', seq) FROM audit_log WHERE action = 'mode'"
    ).fetchone()
    before = None if row is None else row[0]
    if before != settings.mode:
        audit.append(connection, now, None, "mode", detail={"mode": settings.mode, "before": before})


def fill_reason_codes(connection: duckdb.DuckDBPyConnection) -> None:
    """Fills the table `reason_codes`, word for word as in the contract."""
    connection.execute("DELETE FROM reason_codes")
    connection.executemany(
        "INSERT INTO reason_codes VALUES (?, ?, ?, ?)", [list(code) for code in REASON_CODES]
    )


def fill_strategy_usage(connection: duckdb.DuckDBPyConnection) -> None:
    """Fills the table `strategy_usage`: which strategies use this bot, see the query of that name."""
    connection.execute("DELETE FROM strategy_usage")
    connection.execute(
        f"INSERT INTO strategy_usage {load(__package__, 'strategy_usage')}",
        {"fingerprint": contract_fingerprint()},
    )
