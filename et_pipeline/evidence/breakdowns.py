"""Breakdowns: the uplift within each value of a dimension, e-BH over the values, and whether they differ at all.

They are exploratory: no verdict uses them. Each value's interval is computed by the same function as the experiment's
own interval. A value is compared with all others by totals in the same blocks and markets, so the variance of the
difference includes their correlation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from et_pipeline.common.sql import among, append, load
from et_pipeline.contracts.breakdowns import DELTA, MAX_VALUES, OTHER
from et_pipeline.contracts.series import UPLIFT
from et_pipeline.evidence.paths import PlannedSeries, path_frame, ratio_cells
from et_pipeline.experiments.registered import RegisteredExperiment
from et_pipeline.inference import cells
from et_pipeline.inference.ebh import e_bh
from et_pipeline.inference.ratio import RatioCells, ratio_path

if TYPE_CHECKING:
    import duckdb

SUMS = (
    "numerator_control", "denominator_control", "numerator_variant", "denominator_variant", "n_control", "n_variant",
)  # fmt: skip
FIGURES = ("effective_clusters", "mean_uplift", "se", "ci_lower", "ci_upper", "e_value")


def write_breakdowns(
    connection: duckdb.DuckDBPyConnection,
    experiments: Sequence[RegisteredExperiment],
    touched: Collection[str],
) -> None:
    """Updates `breakdowns` inside the caller's transaction, for experiments with new cells or newly closed blocks.

    Args:
        connection: The warehouse, in which paths and the marks of closed blocks are up to date.
        experiments: The experiments.
        touched: Ids of the experiments whose cells changed.
    """
    wanted = [item for item in experiments if item.breakdowns]
    if not wanted:
        return
    inside = among(item.experiment_id for item in wanted)
    query = load(__package__, "newest_closed_primary", inside=inside, uplift=UPLIFT.name)
    newest = dict(connection.execute(query).fetchall())
    stored = dict(
        connection.execute(
            f"SELECT experiment_id, max(as_of) FROM breakdowns WHERE {inside} GROUP BY experiment_id"
        ).fetchall()
    )
    for item in wanted:
        name = item.experiment_id
        as_of = newest.get(name)
        if name not in touched and as_of == stored.get(name):
            continue
        connection.execute("DELETE FROM breakdowns WHERE experiment_id = ?", [name])
        if as_of is None:
            continue
        parameters = {"experiment_id": name, "metric": item.primary.name, "as_of": as_of}
        frame = pl.DataFrame(connection.sql(load(__package__, "cells_of_segments"), params=parameters))
        schema = pl.DataFrame(connection.sql("FROM breakdowns LIMIT 0")).schema
        append(connection, "breakdowns", pl.DataFrame(breakdown_rows(item, frame, as_of), schema=schema))


def breakdown_rows(
    experiment: RegisteredExperiment, frame: pl.DataFrame, as_of: datetime
) -> list[dict[str, Any]]:
    """The rows of `breakdowns` of one experiment.

    Args:
        experiment: The experiment.
        frame: Cells of its segments, see the query `cells_of_segments`.
        as_of: End of the newest closed block with pairs.
    """
    # A value has few blocks and no looks of its own, so it gets the interval that is valid at every block end.
    series = PlannedSeries(experiment._replace(boundary="mixture"), UPLIFT.name, experiment.primary)
    rows: list[dict[str, Any]] = []
    for (dimension,), of_dimension in frame.group_by("dimension", maintain_order=True):
        parts = dict(_parts(of_dimension))
        total = sum(int(part["n"].sum()) for part, _ in parts.values())
        found = [
            _row(series, part, int(part["n"].sum()) / total)
            | {"value": value, "n_values": held, "dimension": dimension, "as_of": as_of}
            for value, (part, held) in parts.items()
        ]
        judged = e_bh([row["evidence"] for row in found], delta=DELTA, total=len(found))
        differ = _heterogeneity(series, of_dimension, [part for part, _ in parts.values()])
        for row, threshold, stands in zip(found, judged.threshold, judged.stands, strict=True):
            del row["evidence"]
            rows.append(
                row
                | {
                    "experiment_id": experiment.experiment_id,
                    "metric": series.terms.name,
                    "threshold": float(threshold),
                    "stands": bool(stands),
                    "heterogeneity_e_value": differ,
                    "heterogeneity_p_value": None if differ is None else min(1.0, 1 / max(differ, 1e-300)),
                }
            )
    return rows


def _row(series: PlannedSeries, part: pl.DataFrame, share: float) -> dict[str, Any]:
    """One value's newest interval; `evidence` is its e-value, or null where nothing may be concluded yet."""
    last = path_frame(series, part).row(-1, named=True)
    figures = {name: last[name] for name in FIGURES}
    evidence = last["e_value"] if last["ready"] and last["e_value"] is not None else 0.0
    return {"n_pairs": last["n_pairs"], "share": share, **figures, "evidence": evidence}


def _parts(of_dimension: pl.DataFrame) -> Iterator[tuple[str, tuple[pl.DataFrame, int]]]:
    """The cells of each value of a dimension, with the number of values; beyond `MAX_VALUES`, all others as one
    value."""
    sizes = of_dimension.group_by("value").agg(pl.sum("n")).sort(-pl.col("n").cast(pl.Int64), "value")
    shown = sizes["value"].head(MAX_VALUES) if len(sizes) > MAX_VALUES else sizes["value"]
    for value in shown.sort():
        yield value, (of_dimension.filter(pl.col("value") == value), 1)
    if len(sizes) > MAX_VALUES:
        yield (
            OTHER,
            (_merged(of_dimension.filter(~pl.col("value").is_in(shown.implode()))), len(sizes) - MAX_VALUES),
        )


def _merged(frame: pl.DataFrame) -> pl.DataFrame:
    """Cells of several values as cells of one value: one row per block and market, always in the same order."""
    frame = frame.sort("block", "market", "value")
    keys, starts = np.unique(frame.select("block", "market").to_numpy(), axis=0, return_index=True)
    columns: dict[str, Any] = {"block": keys[:, 0], "market": keys[:, 1]}
    for name in SUMS:
        column = frame[name]
        columns[name] = (
            pl.Series(np.add.reduceat(column.to_numpy(), starts))
            if column.null_count() == 0
            else pl.repeat(None, len(starts), dtype=column.dtype, eager=True)
        )
    n = np.add.reduceat(frame["n"].to_numpy(), starts)
    if frame["sum"].null_count():
        nothing = pl.repeat(None, len(starts), dtype=pl.Float64, eager=True)
        return pl.DataFrame(columns | {"n": n, "sum": nothing, "m2": nothing})
    one = cells.merge(
        cells.as_cells(
            frame["block"].to_numpy(),
            frame["market"].to_numpy(),
            frame["n"].to_numpy(),
            (frame["sum"] / frame["n"]).to_numpy(),
            frame["m2"].to_numpy(),
        )
    )
    return pl.DataFrame(columns | {"n": n, "sum": one.mean * one.n, "m2": one.m2})


def _heterogeneity(
    series: PlannedSeries, of_dimension: pl.DataFrame, parts: Sequence[pl.DataFrame]
) -> float | None:
    """The e-value against "every value has the same uplift", at the newest closed block; None with a single value.

    It is the mean of one e-value for each value, against "its uplift is that of all others together". If all values
    have the same uplift, all of these hypotheses are true, and a mean of e-values is an e-value under any dependence.
    """
    if len(parts) < 2:
        return None
    whole = _totals(series, _merged(of_dimension))
    found = [_contrast(series, _totals(series, part), whole) for part in parts]
    return sum(found) / len(found)


def _totals(series: PlannedSeries, frame: pl.DataFrame) -> RatioCells:
    """Numerators and denominators by block and market; for a mean over pairs, these are sum and number of pairs."""
    if series.estimator in ("ratio", "arms"):
        return ratio_cells(
            series, frame, adjust=False
        )  # without adjustment, since predictions within one value differ from those for all trades
    n = frame["n"].to_numpy().astype(np.float64)
    totals = np.column_stack((frame["sum"].to_numpy(), n))
    return RatioCells(frame["block"].to_numpy(), frame["market"].to_numpy(), n, totals)


def _contrast(series: PlannedSeries, part: RatioCells, whole: RatioCells) -> float:
    """The e-value against "the uplift within a value is that of the others"; 1 where nothing can be concluded yet."""
    own = np.zeros_like(whole.totals)
    keys = np.column_stack((whole.block, whole.market))
    places = {tuple(key): place for place, key in enumerate(keys.tolist())}
    own[
        [
            places[block, market]
            for block, market in zip(part.block.tolist(), part.market.tolist(), strict=True)
        ]
    ] = part.totals
    rest = whole.totals - own
    rest[:, 1::2] = np.maximum(rest[:, 1::2], 0.0)
    both = RatioCells(whole.block, whole.market, whole.n, np.hstack((own, rest)))
    by_size = series.terms.metric.weight is not None
    path = ratio_path(both, alpha=series.experiment.alpha, g=series.experiment.g, by_size=by_size).at(-1)
    evidence = float(path.e_value)
    return evidence if bool(path.ready) and np.isfinite(evidence) else 1.0
