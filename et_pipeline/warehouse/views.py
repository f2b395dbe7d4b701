"""The tables for analysts, as views of the tables of all series."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.contracts.series import REPLAY_GAP, UPLIFT

if TYPE_CHECKING:
    import duckdb


class View(NamedTuple):
    """One view.

    Attributes:
        name: Its name.
        text: Its query, which reads one table.
        table: That table; the view's columns have the comments of its columns of the same name.
        comment: What a row is.
        columns: Comments of columns that the table does not have.
    """

    name: str
    text: str
    table: str
    comment: str
    columns: Mapping[str, str] = MappingProxyType({})


def _of_uplift(name: str, comment: str) -> View:
    table = f"series_{name}"
    text = f"SELECT * EXCLUDE (comparison) FROM {table} WHERE comparison = '{UPLIFT.name}'"
    return View(name, text, table, comment)


VIEWS = (
    _of_uplift("cells", "Sufficient statistics of the uplift per experiment, metric, block and market."),
    _of_uplift(
        "interval_path",
        "Confidence interval of the mean uplift at every block end; see experiments.boundary for when it is valid.",
    ),
    _of_uplift(
        "intervals",
        "The latest confidence interval per experiment and metric: the last point of interval_path.",
    ),
    _of_uplift(
        "diagnostics",
        "What a reviewer wants to know about the sample; never used for a verdict.",
    ),
    View(
        "replay_path",
        f"SELECT * FROM series_interval_path WHERE comparison <> '{UPLIFT.name}'",
        "series_interval_path",
        "Shadow only: the paths of the comparisons with the replayed control, see replay_fidelity.",
    ),
    View(
        "replay_gaps",
        load(
            __package__,
            "replay_gaps",
            comparison=REPLAY_GAP.name,
            less_is_better=", ".join(
                f"'{name}'" for name, metric in CATALOGUE.items() if metric.direction < 0
            ),
        ),
        "series_cells",
        "Error of the backtester, per control strategy and day over all experiments. Each market is taken from the "
        "experiment with most of its trades, so no trade counts twice.",
        {
            "strategy_id": "The control. Its live reports are compared with the replays of the same trades.",
            "config_version": "Version of the control in the plan; null where every version counts.",
            "day": "UTC day of the blocks.",
            "n_pairs": "Trades with a live report and a replay.",
            "n_markets": "Markets of these trades.",
            "mean_gap": "Mean of replayed minus live, in the metric's unit; above 0 the replay looks better. For a "
            "metric by size, the difference of the day's two ratios of totals; null where one arm traded nothing that "
            "day.",
            "se": "Standard error of mean_gap, clustered by market; null with a single market.",
        },
    ),
    _of_uplift(
        "drift", "Change detector: did the mean uplift fall below minus the margin at some unknown time?"
    ),
)


def make_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes every view again, with the comments of the table's columns.

    A view only has the columns that its table had when the view was made, so the views are made again after the newest
    migration. A view is left out if the schema does not have its table yet.
    """
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    for view in (view for view in VIEWS if view.table in tables):
        connection.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.text}")
        connection.execute(f"COMMENT ON VIEW {view.name} IS '{_quoted(view.comment)}'")
        found = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() "
            "WHERE database_name = current_database() AND table_name = ? AND comment IS NOT NULL "
            "AND column_name IN (SELECT column_name FROM (DESCRIBE FROM query_table(?)))",
            [view.table, view.name],
        ).fetchall()
        for column, comment in [*found, *view.columns.items()]:
            connection.execute(f"COMMENT ON COLUMN {view.name}.{column} IS '{_quoted(comment)}'")


def _quoted(text: str) -> str:
    return text.replace("'", "''")
