"""Does the promised error rate hold on an experiment's own cells? Placebo paths with a true uplift of 0 are made of
them.

Each path has the experiment's own blocks, markets, counts and sizes. Only the uplift is centred, and its sign is
flipped at random: in one scheme for each market, in the other for each run of neighbouring blocks. So the correlation
of pairs of one market (or of neighbouring blocks) is preserved, and a true uplift is removed. Every path is computed by
the same function as the experiment's own; the share of paths that ever exclude 0 is compared with the plan's alpha.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from et_pipeline.common.sql import insert_row, load
from et_pipeline.common.times import naive_utc
from et_pipeline.contracts.series import UPLIFT
from et_pipeline.evidence.compute import read_series
from et_pipeline.evidence.paths import PlannedSeries, path_frame, read_cells
from et_pipeline.experiments.failures import Failure, attempt
from et_pipeline.experiments.registered import registered_experiments
from et_pipeline.inference.twoway import MIN_CLUSTERS
from et_pipeline.warehouse.connection import open_warehouse, transaction

if TYPE_CHECKING:
    import duckdb

    from et_pipeline.settings import Settings

FLIPS = 500
"""Number of placebo paths for each metric and scheme; a share of 0.05 then has a Monte Carlo error of 0.01."""
RUNS = 32
"""Number of runs of blocks. The blocks of a run are flipped together; runs must be long enough to preserve the
correlation of neighbouring blocks, and numerous enough for many different flips."""
CHUNK = 25
"""Number of paths that a process computes at once."""
SCHEMES = ("markets", "blocks")


class Calibrated(NamedTuple):
    """The share of one metric's placebo paths that ever exclude 0: a row of `calibration` without experiment and time.

    Attributes:
        metric: The metric.
        scheme: What is flipped together: `markets`, or `blocks` (runs of neighbouring blocks).
        flips: Number of paths.
        false_share: Share of the paths that ever exclude 0.
        mc_error: Monte Carlo standard error of the share.
        alpha: The largest share that the plan promises.
        run_blocks: Number of blocks of a run; None for markets.
        as_of: End of the newest block of the cells (UTC).
        n_pairs: Number of pairs in the cells.
        method: How the intervals are computed (`interval_path.method`).
    """

    metric: str
    scheme: str
    flips: int
    false_share: float
    mc_error: float
    alpha: float
    run_blocks: int | None
    as_of: datetime
    n_pairs: int
    method: str

    @property
    def holds(self) -> bool:
        """Whether the share is not above the promised one by more than its Monte Carlo error can explain."""
        return self.false_share <= self.alpha + 3 * self.mc_error


def calibrate(
    series: PlannedSeries,
    frame: pl.DataFrame,
    *,
    flips: int = FLIPS,
    pool: Executor | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> list[Calibrated]:
    """Computes placebo paths of one series by both schemes. The same cells always give the same figures.

    Args:
        series: The series.
        frame: Its cells, see `paths.read_cells`.
        flips: Number of paths of each scheme.
        pool: Where the paths are computed; by default in this process.
        say: Called with sentences about the progress.

    Returns:
        A result for each scheme. The list is empty where the cells do not suffice for any conclusion yet, so that no
        conclusion could be false.
    """
    path = path_frame(series, frame) if len(frame) else None
    if path is None or not len(_conclusive(series, path)):
        return []
    last, found = path.row(-1, named=True), []
    for scheme in SCHEMES:
        parts = range(0, flips, CHUNK)
        work = [(series, frame, scheme, range(first, min(first + CHUNK, flips))) for first in parts]
        wrong = 0
        for number, part in enumerate((pool.map if pool else map)(_false_paths, *zip(*work, strict=True))):
            wrong += part
            name = f"{series.experiment.experiment_id}, {series.terms.name}, flipped by {scheme}"
            say(f"{name}: {min((number + 1) * CHUNK, flips)} of {flips} paths")
        share = wrong / flips
        found.append(
            Calibrated(
                metric=series.terms.name,
                scheme=scheme,
                flips=flips,
                false_share=share,
                mc_error=math.sqrt(share * (1 - share) / flips),
                alpha=series.experiment.alpha,
                run_blocks=run_length(frame["block"].n_unique()) if scheme == "blocks" else None,
                as_of=last["as_of"],
                n_pairs=last["n_pairs"],
                method=last["method"],
            )
        )
    return found


def run_length(blocks: int) -> int:
    """Number of blocks that are flipped together."""
    return max(1, round(blocks / RUNS))


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Processes for placebo paths, each with one thread; if `count` is 1, the paths are computed in this process."""
    if count <= 1:
        with ThreadPoolExecutor(1) as pool:
            yield pool
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(
        dict.fromkeys(names, "1")
    )  # several threads would wait for each other and take ten times as long
    try:
        with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _false_paths(series: PlannedSeries, frame: pl.DataFrame, scheme: str, numbers: Sequence[int]) -> int:
    """How many of some placebo paths ever exclude 0."""
    return sum(_excludes_zero(series, placebo(series, frame, scheme, number)) for number in numbers)


def _excludes_zero(series: PlannedSeries, frame: pl.DataFrame) -> bool:
    found = _conclusive(series, path_frame(series, frame))
    return bool(found.select(((pl.col("ci_lower") > 0) | (pl.col("ci_upper") < 0)).any()).item())


def _conclusive(series: PlannedSeries, path: pl.DataFrame) -> pl.DataFrame:
    """The rows of a path from which something may be concluded."""
    return path.filter(
        pl.col("ready")
        & (pl.col("n_pairs") >= series.experiment.min_samples_for_decision)
        & (pl.col("effective_clusters") >= MIN_CLUSTERS)
    )


def placebo(series: PlannedSeries, frame: pl.DataFrame, scheme: str, number: int) -> pl.DataFrame:
    """The cells of one placebo path.

    Args:
        series: The series.
        frame: Its cells.
        scheme: What is flipped together, see `SCHEMES`.
        number: Number of the path; the same number always gives the same flips.
    """
    seed = f"{series.experiment.experiment_id}/{series.terms.name}/{scheme}/{number}"
    digest = hashlib.sha256(seed.encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest))
    signs = _signs(frame, scheme, generator)
    if series.estimator in ("ratio", "arms"):
        return _flipped_arms(frame, signs)
    n, total = frame["n"].to_numpy(), frame["sum"].to_numpy()
    mean = total.sum() / n.sum()
    # A centred value may lie outside the bounds that a betting interval requires, so all values are scaled down for it.
    reach = series.terms.metric.uplift_range
    scale = reach / (reach + abs(mean)) if series.estimator == "bounded" else 1.0
    return frame.with_columns(sum=pl.Series(scale * signs * (total - n * mean)), m2=pl.col("m2") * scale**2)


def _signs(frame: pl.DataFrame, scheme: str, generator: np.random.Generator) -> NDArray[np.float64]:
    """A random sign for each cell, the same for all cells that are flipped together."""
    column = frame["market" if scheme == "markets" else "block"].to_numpy()
    values, group = np.unique(column, return_inverse=True)
    if scheme == "blocks":
        length = run_length(len(values))
        group = (group + generator.integers(length)) // length
    return generator.choice(np.array([-1.0, 1.0]), size=int(group.max()) + 1)[group]


def _flipped_arms(frame: pl.DataFrame, signs: NDArray[np.float64]) -> pl.DataFrame:
    """Cells with totals of both arms: the variant's ratio is set to the control's, and in each arm the deviations from
    that ratio are flipped."""
    totals = frame.select(pl.sum("^(numerator|denominator)_(control|variant)$")).row(0, named=True)
    ratios = {
        arm: totals[f"numerator_{arm}"] / totals[f"denominator_{arm}"] for arm in ("control", "variant")
    }
    sign = pl.lit(pl.Series(signs))
    flipped = {
        f"numerator_{arm}": ratios["control"] * pl.col(f"denominator_{arm}")
        + sign * (pl.col(f"numerator_{arm}") - ratios[arm] * pl.col(f"denominator_{arm}"))
        for arm in ratios
    }
    return frame.with_columns(**flipped)


def calibrate_experiments(
    settings: Settings,
    experiments: Sequence[str],
    *,
    flips: int = FLIPS,
    say: Callable[[str], None] = lambda words: None,
) -> tuple[dict[str, list[Calibrated]], list[Failure]]:
    """Calibrates the primary and the guardrails of experiments and stores the results in the table `calibration`.

    The warehouse is open only to read the cells of one experiment and to write its results, so that ticks go on.

    Args:
        settings: Where the warehouse is.
        experiments: Ids of registered experiments.
        flips: Number of paths for each metric and scheme.
        say: Called with sentences about the progress.

    Returns:
        The results by experiment (empty where its cells do not suffice for any conclusion yet), and the failures.
    """
    found: dict[str, list[Calibrated]] = {}
    failures: list[Failure] = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with processes(cores) as pool:

        def one(names: list[str]) -> None:
            for name in names:
                with open_warehouse(settings) as connection:
                    work = [
                        (series, read_cells(connection, series))
                        for series in read_series(connection, registered_experiments(connection, [name]))
                        if series.comparison == UPLIFT.name and series.terms.role != "secondary"
                    ]
                results = [calibrate(*part, flips=flips, pool=pool, say=say) for part in work]
                found[name] = [result for part in results for result in part]
                with open_warehouse(settings) as connection, transaction(connection):
                    connection.execute("DELETE FROM calibration WHERE experiment_id = ?", [name])
                    for result in found[name]:
                        insert_row(connection, "calibration", as_row(name, result, settings.now()))

        for name in experiments:
            failures += attempt("evidence", [name], one)[1]
    return found, failures


def as_row(experiment_id: str, found: Calibrated, at: datetime) -> dict[str, Any]:
    """A row of `calibration`."""
    moment = naive_utc(at)
    return {"experiment_id": experiment_id, **found._asdict(), "holds": found.holds, "calibrated_at": moment}


def with_news(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Experiments that got pairs after their last calibration, in order of the id."""
    return [name for (name,) in connection.execute(load(__package__, "not_calibrated")).fetchall()]
