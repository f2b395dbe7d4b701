"""The interval path as a picture for the Dagster UI, from the analyst database."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import duckdb

from et_pipeline.common.sql import load, row_dicts
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.experiments.failures import Failure, attempt
from et_pipeline.insight.charts import path_chart
from et_pipeline.insight.figures import series_of
from et_pipeline.insight.read import Row
from et_pipeline.insight.rendering import part
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_copy

SHOWN_CONTROLS = 5
"""Number of controls with a picture on the asset `replay_gaps`, the first ones by name; the table has all of them."""


def interval_path_svg(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> str | None:
    """The primary metric's interval path as an SVG image of a few tens of kilobytes.

    Args:
        connection: The warehouse or the analyst database.
        experiment_id: The experiment.

    Returns:
        The image, or None where the path has fewer than two points.
    """
    path = row_dicts(connection, load(__package__, "primary_path"), {"id": experiment_id})
    if len(path) < 2:
        return None
    first = path[0]
    chart = path_chart(
        series_of(path),
        unit=_unit(first),
        width=720,
        height=280,
        decided=first["decided_as_of"],
        limits=[] if (margin := first["equivalence_margin"]) is None else [-margin, margin],
    )
    title = f"Interval path of {experiment_id}"
    return part("chart.svg", "draw", chart, "path", title, f"{len(path)} block ends.", stands_alone=True)


def interval_path_markdown(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> str | None:
    """The interval path as Markdown with the image in it, for the Dagster UI; None where there is no image."""
    image = interval_path_svg(connection, experiment_id)
    if image is None:
        return None
    data = base64.b64encode(image.encode()).decode()
    return f"![interval path of {experiment_id}](data:image/svg+xml;base64,{data})"


def replay_gaps_markdown(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The replay gaps by day, as Markdown with an image for each control; None where no control was replayed.

    The band has a width of two standard errors on both sides; a day with a single market has none.
    """
    images = []
    for (strategy, metric), rows in _gaps_by_control(connection).items():
        if len(rows) < 2:
            continue
        unit = f"{metric_of(metric).unit} of {metric}"
        chart = path_chart(series_of(rows), unit=unit, width=720, height=220, what=f"{strategy}: gap")
        title = f"Replayed minus live control: {strategy}, {metric}"
        image = part("chart.svg", "draw", chart, "gap", title, f"{len(rows)} days.", stands_alone=True)
        data = base64.b64encode(image.encode()).decode()
        images.append(f"![replay gap by day](data:image/svg+xml;base64,{data})")
    return "\n\n".join(images[:SHOWN_CONTROLS]) or None


def _gaps_by_control(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in row_dicts(connection, load(__package__, "replay_gaps")):
        found.setdefault((row["strategy_id"], row["metric"]), []).append(row)
    return found


def interval_path_plots(
    settings: Settings, experiments: Sequence[str]
) -> tuple[dict[str, str], list[Failure]]:
    """The Markdown with the interval path for several experiments; those without a path are left out.

    Returns:
        The plots by experiment, and the failures of experiments whose plot could not be drawn.
    """
    with open_copy(settings.analyst_path) as connection:

        def draw(names: list[str]) -> dict[str, str | None]:
            return {name: interval_path_markdown(connection, name) for name in names}

        parts, failures = attempt("page", experiments, draw)
    plots = {name: plot for part in parts for name, plot in part.items() if plot is not None}
    return plots, failures


def _unit(row: Row) -> str:
    return f"{metric_of(row['metric']).unit} of {row['metric']}"
