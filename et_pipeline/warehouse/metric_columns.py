"""Writes the migration for metrics that are new in the catalogue: `python -m et_pipeline.warehouse.metric_columns`.

It compares the catalogue with the tables that the migrations make, and writes one migration for all reported metrics
that have no columns yet. A test checks that both agree. So to add a metric, add an entry to the catalogue and run this.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import duckdb

from et_pipeline.contracts.metrics import CATALOGUE, REPORT_METRICS, Metric
from et_pipeline.warehouse.connection import migrate, migrations

REPORTS = ("reports", "early_reports")
ARMS = {"control": "The control's", "variant": "The variant's", "replay": "The replayed control's"}


def lacking() -> list[Metric]:
    """The reported metrics for which the migrations make no columns, in the catalogue's order."""
    with duckdb.connect(":memory:") as connection:
        migrate(connection)
        found = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NOT NULL"
        ).fetchall()
    present = set(found)
    return [CATALOGUE[name] for name in REPORT_METRICS if not set(columns(CATALOGUE[name])) <= present]


def columns(metric: Metric) -> dict[tuple[str, str], str]:
    """The columns that a reported metric needs, by table and name, each with its comment."""
    what = f"{metric.meaning.removesuffix('.')} ({metric.unit})"
    turned = "variant minus control" if metric.direction > 0 else "control minus variant"
    found = {(table, metric.name): f"{what}; null where the report has none." for table in REPORTS}
    return (
        found
        | {
            ("pairs", f"{metric.name}_{arm}"): f"{whose} {metric.name} ({metric.unit}), before winsorising."
            for arm, whose in ARMS.items()
        }
        | {
            ("pairs", f"{metric.name}_uplift"): f"Uplift of {metric.name} ({metric.unit}): {turned}, after "
            "winsorising; positive is good for the variant."
        }
    )


def migration(metrics: Sequence[Metric]) -> str:
    """The text of the migration that adds the columns of metrics."""
    lines = [f"-- Columns of {', '.join(metric.name for metric in metrics)}, from the metric catalogue."]
    for metric in metrics:
        found = columns(metric)
        lines += [f"ALTER TABLE {table} ADD COLUMN {column} DOUBLE;" for table, column in found]
        lines += [
            f"COMMENT ON COLUMN {table}.{column} IS '{comment.replace(chr(39), chr(39) * 2)}';"
            for (table, column), comment in found.items()
        ]
    return "\n".join(lines) + "\n"


def write() -> Path | None:
    """Writes the migration for the metrics without columns under the next free number; None if there are none."""
    metrics = lacking()
    if not metrics:
        return None
    number = migrations()[-1][0] + 1
    folder = Path(str(files(__package__ or "").joinpath("migrations")))
    path = folder / f"{number:04}_{'_'.join(metric.name for metric in metrics)}.sql"
    path.write_text(migration(metrics), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(write() or "every metric of the catalogue has its columns")
