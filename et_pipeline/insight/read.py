"""What a review page is made from: rows of the published analyst database, nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.sql import load

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

TABLES = {
    "experiment_metrics": "CASE role WHEN 'primary' THEN 0 WHEN 'guardrail' THEN 1 ELSE 2 END, metric",
    "intervals": "metric",
    "interval_path": "metric, as_of",
    "diagnostics": "metric",
    "sample_ratio": "as_of",
    "drift": "metric, as_of",
    "drift_signals": "emitted_at, signal_id",
    "sign_offs": "signed_at, path",
    "audit_log": "seq",
    "plan_refusals": "refused_at, path, key",
}
"""Tables with a row or more for each experiment, and their order on the page."""


class ExperimentData(NamedTuple):
    """Everything the page of one experiment shows, as rows.

    Attributes:
        experiment: Its row of `experiments`.
        verdict: Its row of `verdicts`; every value is None before the first tick that looked at it.
        tables: The rows of each of `TABLES`.
        events: Its messages, each with how its delivery stands.
        unmatched: Reports without a pair by arm and reason: `arm, reason, reports`.
        pairs_over_time: Pairs in equal spans of time: `start, pairs`.
        outages: Outages that overlap it.
    """

    experiment: Row
    verdict: Row
    tables: dict[str, list[Row]]
    events: list[Row]
    unmatched: list[Row]
    pairs_over_time: list[Row]
    outages: list[Row]


def rows(connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None) -> list[Row]:
    """The rows of a query as dictionaries."""
    found = connection.execute(query, parameters)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def read_experiment(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> ExperimentData:
    """Reads what the page of one experiment shows.

    Raises:
        KeyError: The database has no such experiment.
    """
    one = {"id": experiment_id}
    experiments = rows(connection, "SELECT * FROM experiments WHERE experiment_id = $id", one)
    if not experiments:
        raise KeyError(experiment_id)
    verdicts = rows(
        connection,
        "FROM (SELECT $id AS experiment_id) LEFT JOIN verdicts USING (experiment_id) SELECT *",
        one,
    )
    tables = {
        table: rows(connection, f"SELECT * FROM {table} WHERE experiment_id = $id ORDER BY {order}", one)
        for table, order in TABLES.items()
    }
    return ExperimentData(
        experiment=experiments[0],
        verdict=verdicts[0],
        tables=tables,
        events=rows(connection, load(__package__ or "", "events"), one),
        unmatched=rows(
            connection,
            "SELECT arm, reason, count(*) AS reports FROM unmatched WHERE experiment_id = $id GROUP BY ALL "
            "UNION ALL SELECT arm, reason, reports FROM unmatched_elsewhere WHERE experiment_id = $id "
            "ORDER BY ALL",
            one,
        ),
        pairs_over_time=rows(connection, load(__package__ or "", "pairs_over_time"), one),
        outages=rows(
            connection,
            "SELECT * FROM outages WHERE since < $ends AND coalesce(until, $ends) > $starts ORDER BY since",
            {"starts": experiments[0]["starts_at"], "ends": experiments[0]["ends_at"]},
        ),
    )


def read_index(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """One row an experiment, as the index shows it; what needs a human comes first."""
    return rows(connection, load(__package__ or "", "index"))


def fingerprints(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """For each experiment a figure that changes whenever its page would; see `fingerprints.sql`."""
    return dict(connection.execute(load(__package__ or "", "fingerprints")).fetchall())


def latest_time(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """The newest moment that any interval speaks of (UTC)."""
    row = connection.execute("SELECT max(as_of) FROM intervals").fetchone()
    return None if row is None else row[0]
