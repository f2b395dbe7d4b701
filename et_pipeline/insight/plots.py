"""The interval path as a picture for the Dagster UI, from the analyst database."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import partial

import duckdb

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.insight import charts
from et_pipeline.insight.figures import series_of
from et_pipeline.insight.read import Row, rows
from et_pipeline.settings import Settings


def interval_path_png(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> bytes | None:
    """The primary metric's interval path as a PNG of a few tens of kilobytes.

    Args:
        connection: The warehouse or the analyst database.
        experiment_id: The experiment.

    Returns:
        The image, or None where the path has fewer than two points.
    """
    path = rows(connection, load(__package__ or "", "primary_path"), {"id": experiment_id})
    if len(path) < 2:
        return None
    first = path[0]
    draw = partial(
        charts.draw_path,
        series=series_of(path),
        unit=_unit(first),
        decided=first["decided_as_of"],
        limits=[] if (margin := first["equivalence_margin"]) is None else [-margin, margin],
    )
    return charts.png(draw, width=720, height=280)


def interval_path_markdown(connection: duckdb.DuckDBPyConnection, experiment_id: str) -> str | None:
    """The same as Markdown with the image in it, as the Dagster UI shows it; None where there is none."""
    image = interval_path_png(connection, experiment_id)
    if image is None:
        return None
    return f"![interval path of {experiment_id}](data:image/png;base64,{base64.b64encode(image).decode()})"


def interval_path_plots(settings: Settings, experiments: Iterable[str]) -> dict[str, str]:
    """The same for several experiments of the published database; those without a path are left out."""
    with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
        plots = {name: interval_path_markdown(connection, name) for name in experiments}
    return {name: plot for name, plot in plots.items() if plot is not None}


def _unit(row: Row) -> str:
    return f"{CATALOGUE[row['metric']].unit} of {row['metric']}"
