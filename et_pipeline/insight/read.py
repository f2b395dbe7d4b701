"""Reads the rows from which the review pages are made, from the published analyst database alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from et_pipeline.common.sql import load, row_dicts
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.governance.judgement import stored_judgement
from et_pipeline.insight.scales import round_up

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

TABLES = {
    "experiment_metrics": "CASE role WHEN 'primary' THEN 0 WHEN 'guardrail' THEN 1 ELSE 2 END, metric",
    "intervals": "metric",
    "interval_path": "metric, as_of",
    "diagnostics": "metric",
    "replay_path": "comparison, metric, as_of",
    "replays": "as_of",
    "sample_ratio": "as_of",
    "sample_ratio_within": "dimension, as_of",
    "sample_ratio_groups": "stands DESC, e_value DESC, dimension, value",
    "drift": "metric, as_of",
    "drift_signals": "emitted_at, signal_id",
    "sign_offs": "signed_at, path",
    "audit_log": "seq",
    "plan_refusals": "refused_at, path, key",
    "failures": "since, stage",
    "portfolio": "as_of",
    "calibration": "metric, scheme",
    "breakdowns": "dimension, value = '(other)', value",
    "promises": "follows",
}
"""Tables with rows for each experiment, each with the order of these rows on the page."""
BARS = 24
"""Number of bars in the histogram of single uplifts; there may be one more."""
AT_ONCE = 10
"""Number of experiments that one query reads: several share its cost, and their rows still fit into memory."""
_OF_THESE = "SELECT * FROM {} WHERE experiment_id IN (SELECT unnest($ids))"


class ExperimentData(NamedTuple):
    """Everything the page of one experiment shows, as rows.

    Attributes:
        experiment: Its row of `experiments`.
        verdict: Its row of `verdicts`; every value is None before its first evaluation.
        tables: Its rows in each of `TABLES`.
        events: Its messages, each with its newest delivery attempt.
        unmatched: Numbers of reports without a pair, by arm and reason: `arm, reason, reports`.
        pairs_over_time: Numbers of pairs in equal spans of time: `start, pairs`.
        uplifts: Histogram of the pairs by the uplift of the primary metric: `start, pairs`.
        outages: Outages that overlap its window.
    """

    experiment: Row
    verdict: Row
    tables: dict[str, list[Row]]
    events: list[Row]
    unmatched: list[Row]
    pairs_over_time: list[Row]
    uplifts: list[Row]
    outages: list[Row]


def read_experiments(
    connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]
) -> Iterator[ExperimentData]:
    """Reads what the pages of experiments show, with one query per table for several experiments.

    Raises:
        KeyError: The database has no such experiment.
    """
    for first in range(0, len(experiments), AT_ONCE):
        ids = list(experiments[first : first + AT_ONCE])
        known = _each(connection, _OF_THESE.format("experiments"), ids)
        verdicts = _each(connection, "FROM (SELECT unnest($ids) AS experiment_id) "
                                     "LEFT JOIN verdicts USING (experiment_id) SELECT *", ids)  # fmt: skip
        tables = {
            table: _each(connection, f"{_OF_THESE.format(table)} ORDER BY {order}", ids)
            for table, order in TABLES.items()
        }
        events = messages(connection, ids)
        unmatched = _each(connection, load(__package__, "unmatched"), ids)
        pairs_over_time = _each(connection, load(__package__, "pairs_over_time"), ids)
        outages = _each(connection, load(__package__, "outages"), ids)
        primaries = {
            name: row["metric"]
            for name, rows in tables["experiment_metrics"].items()
            for row in rows
            if row["role"] == "primary"
        }
        for name in ids:
            if name not in known:
                raise KeyError(name)
            yield ExperimentData(
                experiment=known[name][0],
                verdict=verdicts[name][0],
                tables={table: found.get(name, []) for table, found in tables.items()},
                events=events.get(name, []),
                unmatched=unmatched.get(name, []),
                pairs_over_time=pairs_over_time.get(name, []),
                uplifts=_uplifts(connection, name, tables["diagnostics"].get(name, []), primaries.get(name)),
                outages=outages.get(name, []),
            )


def read_experiment(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> ExperimentData:
    """Reads what the page of one experiment shows.

    Raises:
        KeyError: The database has no such experiment.
    """
    return next(read_experiments(connection, [experiment_id]))


def _uplifts(
    connection: duckdb.DuckDBPyConnection, experiment_id: str, diagnostics: list[Row], primary: str | None
) -> list[Row]:
    """Histogram of the single uplifts of the primary metric, up to three standard deviations around their median.

    It is empty for a metric that a plan derives: single pairs of a share have no sizes, and `pairs` has no such column.
    """
    if primary is None or not metric_of(primary).reported:
        return []
    found = next((row for row in diagnostics if row["metric"] == primary), None)
    if found is None or found["median_uplift"] is None or not found["sd_uplift"]:
        return []
    width = round_up(6 * found["sd_uplift"] / BARS)
    first = math.floor((found["median_uplift"] - 3 * found["sd_uplift"]) / width)
    bounds = {"id": experiment_id, "width": width, "first": first, "last": first + BARS}
    rows = row_dicts(connection, load(__package__, "uplifts", metric=primary), bounds)
    return rows if any(row["pairs"] for row in rows) else []


def messages(connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]) -> dict[str, list[Row]]:
    """The messages of each experiment that has any, each with its newest delivery attempt."""
    return _each(connection, load(__package__, "events"), experiments)


def _each(
    connection: duckdb.DuckDBPyConnection, query: str, experiments: Sequence[str]
) -> dict[str, list[Row]]:
    """The rows of a query, by experiment."""
    found: dict[str, list[Row]] = {}
    for row in row_dicts(connection, query, {"ids": list(experiments)}):
        found.setdefault(row["experiment_id"], []).append(row)
    return found


def read_index(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """One row per experiment for the index, the newest experiment first, each with its stored judgement and its
    group."""
    found = row_dicts(connection, load(__package__, "index"))
    for row in found:
        judgement, row["group"] = stored_judgement(row)
        del row["standing"]
        row["primary"], row["review"], row["replay"] = judgement.primary, judgement.review, judgement.replay
        row["now"], row["next_step"] = judgement.now, judgement.next_step
    return found


def families(connection: duckdb.DuckDBPyConnection) -> dict[str, list[Row]]:
    """The variants of each family, the largest uplift first; see the query `families`."""
    found: dict[str, list[Row]] = {}
    for row in row_dicts(connection, load(__package__, "families")):
        found.setdefault(row["family"], []).append(row)
    return found


def fingerprints(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str]]:
    """Two fingerprints of the content of each experiment's page; see the query `fingerprints`.

    The second one is of the deliveries of its messages, the first one of everything else.
    """
    found = connection.execute(load(__package__, "fingerprints")).fetchall()
    return {experiment_id: (figure, deliveries) for experiment_id, figure, deliveries in found}


def latest_time(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """The newest moment for which there is an interval (UTC)."""
    row = connection.execute("SELECT max(as_of) FROM intervals").fetchone()
    return None if row is None else row[0]
