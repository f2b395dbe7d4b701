"""Computes the interval path of one series from its cells, by the plan's estimator, as columns of a table."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from et_pipeline.common.sql import load
from et_pipeline.evidence.looks import horizon_of
from et_pipeline.experiments.registered import MetricTerms, RegisteredExperiment
from et_pipeline.inference.arms import adjusted
from et_pipeline.inference.bounded import block_means, hull, one_over
from et_pipeline.inference.cells import Cells, Floats, as_cells
from et_pipeline.inference.course import Course
from et_pipeline.inference.horizon import Ends, Horizon, carried, first_look, on_horizon, single_look
from et_pipeline.inference.markets import market_path, weighted
from et_pipeline.inference.ratio import RatioCells, ratio_path
from et_pipeline.inference.twoway import IntervalPath, interval_path, limits, mean_from, path_of

if TYPE_CHECKING:
    import duckdb

METHODS = {
    ("mixture", "mean"): "two-way anytime-valid t",
    ("mixture", "ratio"): "two-way anytime-valid t, delta method",
    ("mixture", "arms"): "two-way anytime-valid t, all trades, adjusted",
    ("horizon", "arms"): "two-way t at the plan's looks, all trades, adjusted",
    ("mixture", "bounded"): "betting confidence sequence",
    ("horizon", "mean"): "two-way t at the plan's looks",
    ("horizon", "ratio"): "two-way t at the plan's looks, delta method",
    ("horizon", "bounded"): "hull of two-way t at the plan's looks and betting",
}
"""The text of `interval_path.method`, by boundary and estimator."""
OVER_MARKETS = ", mean over markets"
"""What is added to it for a mean over markets."""


class PlannedSeries(NamedTuple):
    """One series of a registered experiment, with what the plan fixes for it.

    Attributes:
        experiment: The experiment.
        comparison: Which arms it compares, see `contracts.series`.
        terms: The plan's terms for its metric.
    """

    experiment: RegisteredExperiment
    comparison: str
    terms: MetricTerms

    @property
    def estimator(self) -> str:
        """How its path is computed: by the metric's own estimator, or as `arms` where all trades are compared."""
        return self.terms.estimator if self.experiment.paired else "arms"

    @property
    def over_markets(self) -> bool:
        """Whether it is a mean over markets: the primary is, where the plan says so."""
        return self.terms.role == "primary" and self.experiment.weighting == "markets"

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest possible uplift of a pair."""
        reach = self.terms.metric.uplift_range
        return -reach, reach

    @property
    def continued(self) -> bool:
        """Whether its path goes on from a checkpoint: that of a mean over pairs does.

        That of a bounded primary does not: its mean over markets, which stands beside it, needs the means of all
        blocks by weight.
        """
        if self.over_markets or (self.terms.role == "primary" and self.estimator == "bounded"):
            return False
        return self.estimator in ("mean", "bounded")

    @property
    def method(self) -> str:
        """What `interval_path.method` says."""
        name = METHODS[self.experiment.boundary, self.estimator]
        return name + OVER_MARKETS if self.over_markets else name

    @property
    def otherwise(self) -> PlannedSeries:
        """The same series with the other weighting, which does not decide."""
        plan = json.loads(self.experiment.plan)
        other = "pairs" if self.experiment.weighting == "markets" else "markets"
        return self._replace(
            experiment=self.experiment._replace(plan=json.dumps(plan | {"weighting": other}))
        )

    @property
    def arms(self) -> tuple[str, str]:
        """The two arms in the order of the subtraction: first minus second is positive where the variant is better."""
        return ("variant", "control") if self.terms.metric.direction == 1 else ("control", "variant")

    @property
    def key(self) -> dict[str, str]:
        """The columns that name the series in every table of series."""
        return {
            "experiment_id": self.experiment.experiment_id,
            "comparison": self.comparison,
            "metric": self.terms.name,
        }

    @property
    def horizon(self) -> Horizon | None:
        """The plan's looks; None where its boundary is valid for ever."""
        return horizon_of(self.experiment)


def read_cells(connection: duckdb.DuckDBPyConnection, series: PlannedSeries) -> pl.DataFrame:
    """The series' cells in time order, see the query `cells_of_series`."""
    relation = connection.sql(
        load(__package__, "cells_of_series"),
        params=series.key,
    )
    return pl.DataFrame(relation)


def inference_cells(frame: pl.DataFrame) -> Cells:
    """The frame's columns as `Cells` for the inference."""
    n = frame["n"].to_numpy()
    return as_cells(
        frame["block"].to_numpy(),
        frame["market"].to_numpy(),
        n,
        frame["sum"].to_numpy() / n,
        frame["m2"].to_numpy(),
    )


def path_frame(series: PlannedSeries, frame: pl.DataFrame, *, adjust: bool = True) -> pl.DataFrame:
    """The interval path of one series as rows of `series_interval_path`.

    Args:
        series: The series.
        frame: The series' cells, at least one, see `read_cells`.
        adjust: Whether trades are adjusted for market and hour, where all trades of both arms are compared.

    Returns:
        One row per block that has pairs, in time order. Numbers that cannot be computed yet, and ends that are
        infinite, are null.
    """
    return _rows(series, *_estimate(series, frame, adjust), _trades(series, frame))


def course_options(series: PlannedSeries) -> dict[str, Any]:
    """What is wanted of the course of a continued series, see `course.course_and_checkpoints`."""
    return {
        "planned_blocks": series.experiment.planned_blocks if series.terms.role == "primary" else None,
        "bounds": series.bounds if series.estimator == "bounded" else None,
    }


def path_of_course(series: PlannedSeries, course: Course) -> pl.DataFrame:
    """The same from the course of a continued series, or of one whose other weighting is continued."""
    plan = series.experiment
    moments = course.by_markets if series.over_markets else course.by_pairs
    assert moments is not None, "a course has what `course_options` asks for"
    path = path_of(*mean_from(moments, course.centre), alpha=plan.alpha, g=plan.g)
    if series.over_markets:
        path = path._replace(n_pairs=np.rint(course.by_pairs.total[:, 0]).astype(np.int64))
    nothing = pl.repeat(None, len(path.block), dtype=pl.Int64, eager=True)
    trades = {"n_control": nothing, "n_variant": nothing}
    return _rows(series, *_bounded_by(series, path, course.means), trades)


def _rows(
    series: PlannedSeries, path: IntervalPath, alarm: Ends, trades: dict[str, pl.Series]
) -> pl.DataFrame:
    """A path as rows of `series_interval_path`."""
    fixed_lower, fixed_upper = single_look(path, alpha=series.experiment.alpha)
    columns = pl.DataFrame(
        {
            "as_of": path.block + series.experiment.time_block_us,
            "n_pairs": path.n_pairs,
            "effective_clusters": path.clusters,
            "n_markets": path.n_markets,
            "n_blocks": path.n_blocks,
            "mean_uplift": path.mean,
            "se": path.se,
            "ci_lower": path.ci_lower,
            "ci_upper": path.ci_upper,
            "e_value": path.e_value,
            "p_value": path.p_value,
            "fixed_ci_lower": fixed_lower,
            "fixed_ci_upper": fixed_upper,
            "alarm_ci_lower": alarm[0],
            "alarm_ci_upper": alarm[1],
            "autocorrelation": path.autocorrelation,
            "ready": path.ready,
            **trades,
            "closed": np.zeros(len(path.block), dtype=np.bool_),
            "carried": ~path.look,
            **_looks(series.horizon, path),
        }
    )
    return finite(columns).with_columns(
        pl.col("as_of", "next_look_at").cast(pl.Datetime("us")),
        **{name: pl.lit(value) for name, value in series.key.items()},
        role=pl.lit(series.terms.role),
        method=pl.lit(series.method),
        plan_hash=pl.lit(series.experiment.plan_hash),
    )


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Replaces NaN and infinity by null, as the tables require.

    A single infinite row would make an average over the column infinite or NaN, without an error. Unknown and unbounded
    values are null; an infinite e-value is replaced by the largest floating-point number.
    """
    bounded = frame.with_columns(pl.col("^e_value$").clip(upper_bound=np.finfo(np.float64).max))
    floats = pl.selectors.float()
    return bounded.with_columns(pl.when(floats.is_finite()).then(floats))


def _trades(series: PlannedSeries, frame: pl.DataFrame) -> dict[str, pl.Series]:
    """The trades of each arm up to each row; null where pairs are compared."""
    of_blocks = frame.group_by("block", maintain_order=True).agg(pl.sum("n_control", "n_variant"))
    if series.experiment.paired:
        of_blocks = of_blocks.with_columns(n_control=None, n_variant=None)
    counts = of_blocks.select(pl.col("n_control", "n_variant").cast(pl.Int64).cum_sum())
    return {column.name: column for column in counts}


def _looks(horizon: Horizon | None, path: IntervalPath) -> dict[str, pl.Series]:
    """The columns that place each row among the plan's looks; null where the boundary is valid at every row."""
    if horizon is None:
        nothing = pl.Series([None] * len(path.block), dtype=pl.Int64)
        return dict.fromkeys(("look", "looks", "next_look_at"), nothing) | {
            "degrees_of_freedom": nothing.cast(pl.Float64)
        }
    due = pl.Series(horizon.due(path.block))
    later = pl.Series(horizon.time_of(np.maximum(due.to_numpy() + 1, first_look(horizon.looks))))
    return {
        "look": due,
        "looks": pl.repeat(horizon.looks, len(due), dtype=pl.Int64, eager=True),
        "next_look_at": later.set(due >= horizon.looks, None),
        "degrees_of_freedom": pl.Series(path.degrees),
    }


def _estimate(series: PlannedSeries, frame: pl.DataFrame, adjust: bool) -> tuple[IntervalPath, Ends]:
    """The path by the plan's estimator and boundary, and the ends of its intervals at the alpha of an alarm."""
    plan = series.experiment
    cells = series_cells(series, frame, adjust=adjust)
    by_size = series.terms.metric.weight is not None
    if series.over_markets:
        path = market_path(
            cells, planned_blocks=plan.planned_blocks, alpha=plan.alpha, g=plan.g, by_size=by_size
        )
    elif isinstance(cells, RatioCells):
        path = ratio_path(cells, alpha=plan.alpha, g=plan.g, by_size=by_size)
    else:
        path = interval_path(cells, alpha=plan.alpha, g=plan.g)
    means = None
    if isinstance(cells, Cells) and series.terms.estimator == "bounded":
        counted = weighted(cells, planned_blocks=plan.planned_blocks) if series.over_markets else cells
        means = block_means(counted, series.bounds)
    return _bounded_by(series, path, means)


def _bounded_by(
    series: PlannedSeries, path: IntervalPath, means: Floats | None = None
) -> tuple[IntervalPath, Ends]:
    """A path with the plan's boundary, and its ends at the alpha of an alarm.

    Args:
        series: The series.
        path: Its path with the boundary that is valid for ever.
        means: Each block's mean between the bounds, where the plan's estimator is `bounded`.
    """
    plan = series.experiment
    alarm = limits(path, alpha=plan.alarm_alpha, g=plan.g)
    if series.horizon is not None:
        path, alarm = on_horizon(path, series.horizon, alpha=plan.alpha, alarm_alpha=plan.alarm_alpha)
    if means is not None:
        both = partial(hull, means=means, bounds=series.bounds, planned_blocks=plan.planned_blocks)
        wider = both(path._replace(ci_lower=alarm[0], ci_upper=alarm[1]), alpha=plan.alarm_alpha)
        path, alarm = both(path, alpha=plan.alpha), (wider.ci_lower, wider.ci_upper)
        if series.horizon is None:
            path = path._replace(p_value=one_over(path.e_value))
    return (path, alarm) if series.horizon is None else carried(path, alarm)


def series_cells(series: PlannedSeries, frame: pl.DataFrame, *, adjust: bool = True) -> Cells | RatioCells:
    """The series' cells as its estimator takes them.

    Args:
        series: The series.
        frame: Its cells, see `read_cells`.
        adjust: As for `ratio_cells`.
    """
    if series.estimator in ("ratio", "arms"):
        return ratio_cells(series, frame, adjust=adjust)
    return inference_cells(frame)


def ratio_cells(series: PlannedSeries, frame: pl.DataFrame, *, adjust: bool = True) -> RatioCells:
    """Totals of both arms in the order of `PlannedSeries.arms`, so that a positive difference is good for the variant.

    Args:
        series: The series, of a ratio metric or of an experiment that compares all trades.
        frame: Its cells, see `read_cells`.
        adjust: Whether all trades of both arms are adjusted for market and hour, see `inference.arms`.
    """
    arms = series.arms
    columns = [f"{part}_{arm}" for arm in arms for part in ("numerator", "denominator")]
    counts = pl.col("n") if series.experiment.paired else pl.col(f"n_{arms[0]}", f"n_{arms[1]}")
    n = frame.select(counts).to_numpy().astype(np.float64)
    cells = RatioCells(
        frame["block"].to_numpy(),
        frame["market"].to_numpy(),
        n[:, 0] if series.experiment.paired else n,
        frame.select(columns).to_numpy(),
    )
    return cells if series.experiment.paired or not adjust else adjusted(cells, control=arms.index("control"))
