"""`et rebuild --check`: computes everything again from the snapshots and compares it with the present warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.settings import Settings

if TYPE_CHECKING:
    import duckdb

TOLERANT = {
    "reports": "EXCLUDE (snapshot_id, line, batch, emitted_below_us)",
    "pairs": "",
    "unmatched": "",
    "series_cells": "",
    "missing_values": "",
    "segment_cells": "",
    "breakdowns": "",
    "series_interval_path": "",
    "series_intervals": "",
    "arm_progress": "",
    "replays": "",
    "replay_fidelity": "",
    "sample_ratio": "",
    "sample_ratio_within": "",
    "sample_ratio_groups": "",
    "series_drift": "",
    "portfolio": "",
    "families": "",
    "promises": "",
}
"""The tables that are a function of reports, plans and sign-offs, without their columns with the time of computation.

A warehouse of an older version lacks the digits of `emitted_below_us`; their effect is visible in `pairs` and
`unmatched`.
"""


class Difference(NamedTuple):
    """Rows of one table that only one of the two warehouses has.

    Attributes:
        table: The table.
        present: Rows of the present warehouse.
        only_present: Rows that only the present warehouse has.
        only_rebuilt: Rows that only the rebuilt one has.
    """

    table: str
    present: int
    only_present: int
    only_rebuilt: int


def rebuild(
    check: Annotated[
        bool, typer.Option("--check", help="Compare with the present warehouse and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Computes everything again from the snapshots and compares. The exit status is 1 if a table differs.

    Example: et rebuild --check
    """
    if not check:
        raise CommandError("rebuild can only compare: use et rebuild --check")
    present = terminal.settings()
    if present.spark is not None:
        raise CommandError(
            "rebuild --check works only with reports in the warehouse; with ET_ENGINE=spark they are elsewhere"
        )
    terminal.require(present.warehouse_path)
    with (
        tempfile.TemporaryDirectory(dir=present.warehouse_path.parent, prefix="rebuild-") as folder,
        terminal.progress("Opening the warehouse") as say,
    ):
        differences = compare(present, Path(folder) / "rebuilt.duckdb", say)
    wrong = [found for found in differences if found.only_present or found.only_rebuilt]
    if as_json:
        terminal.print_json({"equal": not wrong, "tables": [found._asdict() for found in differences]})
    else:
        console = terminal.console()
        for found in differences:
            if found in wrong:
                console.print(
                    f"[red]differs[/] {found.table}: {found.only_present:,} rows only in the warehouse, "
                    f"{found.only_rebuilt:,} only in the rebuilt one"
                )
            else:
                console.print(f"[green]equal[/]   {found.table}: {found.present:,} rows")
    if wrong:
        raise typer.Exit(1)


def compare(
    present: Settings, scratch: Path, say: Callable[[str], None] = lambda words: None
) -> list[Difference]:
    """Computes everything again in a temporary file and compares it with the present warehouse, table by table.

    The registered plans, the states and the verdicts are copied, since they are history and not a function of the
    present files.
    """
    from et_pipeline.evidence.compute import build_evidence
    from et_pipeline.ingest.ingest import ingest
    from et_pipeline.pairing.cells import build_cells
    from et_pipeline.pairing.pairs import build_pairs
    from et_pipeline.warehouse.connection import locked, open_warehouse

    with (
        locked(present),
        open_warehouse(present, path=scratch) as connection,
        _attached(connection, present.warehouse_path),
    ):
        for table in ("experiments", "experiment_metrics", "audit_log"):
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM present.{table}")
        say("Reading the snapshots")
        ingest(
            connection,
            present,
            _clock(connection, present),
            lambda progress: say(f"Reading the snapshots: {progress}"),
        )
        sampled = [
            row[0]
            for row in connection.execute(
                "SELECT experiment_id FROM present.pairing_progress ORDER BY 1"
            ).fetchall()
        ]
        say("Pairing")
        build_pairs(connection, sampled)
        build_cells(connection, sampled)
        say("Computing the intervals")
        build_evidence(connection, sampled)
        _count_together(connection, present)
        say("Comparing")
        return [_difference(connection, table, columns) for table, columns in TOLERANT.items()]


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Attaches the present warehouse under the name `present`, read-only."""
    import duckdb

    from et_pipeline.warehouse.connection import WarehouseError, quoted

    try:
        connection.execute(f"ATTACH {quoted(path)} AS present (READ_ONLY)")
    except duckdb.Error as error:
        raise WarehouseError(f"{path} cannot be opened; restore it from a backup: {error}") from error
    try:
        yield
    finally:
        connection.execute("DETACH present")


def _count_together(connection: duckdb.DuckDBPyConnection, present: Settings) -> None:
    """Computes promises and the portfolio from the present verdicts, the portfolio with the rule that was used last."""
    from et_pipeline.governance import promises
    from et_pipeline.governance.portfolio import refresh

    connection.execute("INSERT INTO verdicts BY NAME SELECT * FROM present.verdicts")
    promises.refresh(connection)
    rules = connection.execute("SELECT DISTINCT delta, window_us FROM present.portfolio").fetchall()
    for delta, window_us in rules:
        counted = replace(present, portfolio_delta=delta, portfolio_window_us=window_us)
        refresh(connection, counted, present.now())


def _clock(connection: duckdb.DuckDBPyConnection, present: Settings) -> datetime:
    """The time at which the snapshots are read: reports that wait in the present warehouse have to wait here too."""
    [(first,)] = connection.execute("SELECT min(emitted_at) FROM present.early_reports").fetchall()
    if first is None:
        return present.now()
    before: datetime = first.replace(tzinfo=UTC) - timedelta(microseconds=present.max_clock_skew_us + 1)
    return min(present.now(), before)


def _difference(connection: duckdb.DuckDBPyConnection, table: str, columns: str) -> Difference:
    def only(left: str, right: str) -> str:
        return f"(SELECT * {columns} FROM {left}{table} EXCEPT ALL SELECT * {columns} FROM {right}{table})"

    row = connection.execute(
        f"SELECT (SELECT count(*) FROM present.{table}), "
        f"(SELECT count(*) FROM {only('present.', '')}), (SELECT count(*) FROM {only('', 'present.')})"
    ).fetchone()
    assert row is not None
    return Difference(table, *row)
