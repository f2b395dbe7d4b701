"""One series' cells → its interval path: picks the plan's estimator and lays the result out as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from et_pipeline.common.sql import load
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.inference.bounded import bounded_path
from et_pipeline.inference.cells import Cells, Floats, as_cells
from et_pipeline.inference.horizon import single_look
from et_pipeline.inference.ratio import RatioCells, ratio_path
from et_pipeline.inference.twoway import IntervalPath, interval_path, limits

if TYPE_CHECKING:
    import duckdb

METHODS = {
    "mean": "two-way anytime-valid t",
    "ratio": "two-way anytime-valid t, delta method",
    "bounded": "betting confidence sequence",
}
"""By estimator, what `interval_path.method` says."""


class Decision(NamedTuple):
    """What a plan fixes for one series.

    Attributes:
        experiment_id: The experiment.
        comparison: Which arms it compares, see `contracts.series`.
        metric: Metric of the catalogue.
        role: `primary`, `guardrail` or `secondary`.
        estimator: `mean`, `bounded` or `ratio`.
        non_inferiority_margin: A guardrail's margin, in the metric's unit.
        equivalence_margin: The primary's margin of equivalence, in the metric's unit.
        min_samples: Pairs below which nothing is decided.
        alpha: Error of the interval.
        alarm_alpha: Error of the interval that may raise the alarm.
        g: Tuning of the boundary, frozen with the plan.
        planned_blocks: Blocks the plan was registered for.
        time_block_us: Length of a block.
        plan_hash: The frozen plan.
    """

    experiment_id: str
    comparison: str
    metric: str
    role: str
    estimator: str
    non_inferiority_margin: float | None
    equivalence_margin: float | None
    min_samples: int
    alpha: float
    alarm_alpha: float
    g: float
    planned_blocks: int
    time_block_us: int
    plan_hash: str

    @property
    def key(self) -> dict[str, str]:
        """The columns that name the series in every table of series."""
        return {"experiment_id": self.experiment_id, "comparison": self.comparison, "metric": self.metric}

    @property
    def drift_alpha(self) -> float:
        """Alpha of the drift detector: over the planned blocks it ever alarms with at most `alarm_alpha`.

        Its statistic grows by at most 1 a block in expectation while nothing has fallen, so within T blocks
        it reaches T/alpha with probability at most alpha (Doob's inequality).
        """
        return self.alarm_alpha / self.planned_blocks


def read_cells(connection: duckdb.DuckDBPyConnection, decision: Decision) -> pl.DataFrame:
    """The series' cells in time order, see `cells_of_series.sql`."""
    relation = connection.sql(
        load(__package__ or "", "cells_of_series"),
        params=decision.key,
    )
    return pl.DataFrame(relation)


def inference_cells(frame: pl.DataFrame) -> Cells:
    """The frame's columns as the inference takes them."""
    n = frame["n"].to_numpy()
    return as_cells(
        frame["block"].to_numpy(),
        frame["market"].to_numpy(),
        n,
        frame["sum"].to_numpy() / n,
        frame["m2"].to_numpy(),
    )


def path_frame(decision: Decision, frame: pl.DataFrame) -> pl.DataFrame:
    """The interval path of one series as rows of `series_interval_path`.

    Args:
        decision: What the plan fixes.
        frame: The series' cells, at least one, see `read_cells`.

    Returns:
        One row per block that has pairs, in time order. Numbers that do not exist yet are null, ends that are
        not bounded yet too.
    """
    path, alarm = _estimate(decision, frame)
    n_rows = len(path.block)
    fixed_lower, fixed_upper = single_look(path, alpha=decision.alpha)
    columns = pl.DataFrame(
        {
            "as_of": path.block + decision.time_block_us,
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
            "closed": np.zeros(n_rows, dtype=np.bool_),
        }
    )
    return finite(columns).with_columns(
        pl.col("as_of").cast(pl.Datetime("us")),
        **{name: pl.lit(value) for name, value in decision.key.items()},
        role=pl.lit(decision.role),
        method=pl.lit(METHODS[decision.estimator]),
        plan_hash=pl.lit(decision.plan_hash),
    )


def finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows as tables have them: no number is NaN or infinite.

    An average over a column would be neither a number nor an error where one row says infinite. What is not
    known or not bounded is null; evidence beyond what a double holds is the largest double.
    """
    bounded = frame.with_columns(pl.col("^e_value$").clip(upper_bound=np.finfo(np.float64).max))
    floats = pl.selectors.float()
    return bounded.with_columns(pl.when(floats.is_finite()).then(floats))


def _estimate(decision: Decision, frame: pl.DataFrame) -> tuple[IntervalPath, tuple[Floats, Floats]]:
    """The path by the plan's estimator, and its ends at the alpha of an alarm."""
    if decision.estimator == "ratio":
        path = ratio_path(_ratio_cells(decision, frame), alpha=decision.alpha, g=decision.g)
        return path, limits(path, alpha=decision.alarm_alpha, g=decision.g)
    cells = inference_cells(frame)
    if decision.estimator == "bounded":
        reach = CATALOGUE[decision.metric].uplift_range
        path, alarm = (
            bounded_path(
                cells,
                bounds=(-reach, reach),
                planned_blocks=decision.planned_blocks,
                alpha=alpha,
                g=decision.g,
            )
            for alpha in (decision.alpha, decision.alarm_alpha)
        )
        return path, (alarm.ci_lower, alarm.ci_upper)
    path = interval_path(cells, alpha=decision.alpha, g=decision.g)
    return path, limits(path, alpha=decision.alarm_alpha, g=decision.g)


def _ratio_cells(decision: Decision, frame: pl.DataFrame) -> RatioCells:
    """Totals of both arms, the better-when-larger one first, so that positive is good for the arm compared."""
    arms = ("variant", "control") if CATALOGUE[decision.metric].direction == 1 else ("control", "variant")
    columns = [f"{part}_{arm}" for arm in arms for part in ("numerator", "denominator")]
    return RatioCells(
        frame["block"].to_numpy(),
        frame["market"].to_numpy(),
        frame["n"].to_numpy().astype(np.float64),
        frame.select(columns).to_numpy(),
    )
