"""Computes interval paths, diagnostics, sample ratio and drift from cells: the tables on which verdicts are based."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from et_pipeline.common.sql import ArrowStream, among, append, insert_row, load
from et_pipeline.common.times import EPOCH, epoch_microseconds
from et_pipeline.contracts.series import BEFORE, COMPARISONS, UPLIFT
from et_pipeline.evidence.breakdowns import write_breakdowns
from et_pipeline.evidence.checkpoints import Sample, path_of, read_sample
from et_pipeline.evidence.fidelity import write_fidelity
from et_pipeline.evidence.gaps import Gaps, missing_row, read_gaps
from et_pipeline.evidence.level import control_level
from et_pipeline.evidence.looks import further_pairs
from et_pipeline.evidence.paths import (
    PlannedSeries,
    finite,
    path_frame,
    path_of_course,
    ratio_cells,
    series_cells,
)
from et_pipeline.evidence.ratios import write_sample_ratios
from et_pipeline.evidence.spread import Spread, spread_of_pairs
from et_pipeline.experiments.registered import RegisteredExperiment, registered_experiments
from et_pipeline.inference.arms import spread
from et_pipeline.inference.cells import Cells, blocks_of
from et_pipeline.inference.course import Course
from et_pipeline.inference.diagnostics import describe
from et_pipeline.inference.drift import WINDOW, DriftPath, drift_of, drift_path
from et_pipeline.inference.markets import weighted
from et_pipeline.inference.ratio import RatioCells
from et_pipeline.inference.twoway import MAX_AUTOCORRELATION
from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb

OTHER = {"uplift": "mean_uplift", "se": "se", "ci_lower": "ci_lower", "ci_upper": "ci_upper"}
"""The figures that are stored of the primary's mean with the other weighting, which does not decide, by its columns in
a path."""
_OF_SERIES = "experiment_id = $experiment_id AND comparison = $comparison AND metric = $metric"


class EvidenceResult(NamedTuple):
    """What one run of `build_evidence` did.

    Attributes:
        experiments: Experiments whose cells had changed.
        rows: Rows of `series_interval_path` written.
    """

    experiments: tuple[str, ...]
    rows: int


def build_evidence(
    connection: duckdb.DuckDBPyConnection,
    experiments: Sequence[str],
    *,
    full: bool = False,
    engine: Engine | None = None,
) -> EvidenceResult:
    """Updates intervals, diagnostics, drift and sample ratio from the cells, in one transaction.

    A path goes on from a checkpoint, see `evidence.checkpoints`, and is written from its last row before the first
    changed block on. Which blocks are closed is determined again for the whole path, since the arms may have moved on
    in time although no cell changed.

    Args:
        connection: The warehouse, outside any transaction.
        experiments: The experiments; only those with stale paths are computed.
        full: Whether to compute every path again, whatever is stale.
        engine: Where the pairs are; by default in the warehouse.
    """
    engine = engine or DuckDBEngine(connection)
    wanted = sorted(set(experiments))
    with transaction(connection), engine.scope():
        stale = dict(
            connection.execute(
                "SELECT experiment_id, min(block) FROM stale_paths "
                "WHERE experiment_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY experiment_id",
                [wanted],
            ).fetchall()
        )
        touched = dict.fromkeys(wanted, EPOCH) if full else stale
        rows = 0
        known = registered_experiments(connection, wanted)
        for series in read_series(connection, [item for item in known if item.experiment_id in touched]):
            rows += _rebuild_series(engine, series, touched[series.experiment.experiment_id])
        connection.execute(
            "DELETE FROM stale_paths WHERE experiment_id IN (SELECT unnest(?::VARCHAR[]))", [list(touched)]
        )
        for table in ("series_interval_path", "series_intervals"):
            connection.execute(
                load(
                    __package__,
                    "close_blocks",
                    table=table,
                    inside=among(wanted),
                    closed_until=load(__package__, "closed_until"),
                )
            )
        write_breakdowns(connection, known, touched)
        write_fidelity(connection, [item for item in known if item.mode == "shadow"])
        _match_rates(engine, wanted)
        _replays(engine, [item for item in known if item.mode == "shadow"])
        write_sample_ratios(engine, [item for item in known if item.mode == "limited_live"])
    return EvidenceResult(tuple(sorted(touched)), rows)


def read_series(
    connection: duckdb.DuckDBPyConnection, experiments: Sequence[RegisteredExperiment]
) -> list[PlannedSeries]:
    """The experiments' series: those of the uplift, and all others that have cells or had some before."""
    planned = {
        (item.experiment_id, terms.name): (item, terms) for item in experiments for terms in item.metrics
    }
    others = connection.execute(
        load(
            __package__,
            "other_series",
            uplift=UPLIFT.name,
            before=BEFORE,
            inside=among(item.experiment_id for item in experiments),
        )
    ).fetchall()
    keys = {(name, UPLIFT.name, metric) for name, metric in planned}.union(others)
    return [
        PlannedSeries(planned[name, metric][0], comparison, planned[name, metric][1])
        for name, comparison, metric in sorted(keys)
        if (name, metric) in planned
    ]


def _rebuild_series(engine: Engine, series: PlannedSeries, since: datetime) -> int:
    """Rewrites one series' path from `since` on, its latest interval, diagnostics and drift."""
    connection = engine.connection
    comparison = COMPARISONS[series.comparison]
    watched = comparison.watched and series.terms.role != "secondary" and series.estimator != "ratio"
    sample = read_sample(connection, series, since, watched=watched)
    path = None if sample is None else path_of(series, sample)
    before = Spread(*_stored_spread(connection, series))
    for table in ("series_intervals", "series_diagnostics"):
        connection.execute(f"DELETE FROM {table} WHERE {_OF_SERIES}", series.key)
    first = _rewrite_from(path, since, series.experiment.time_block_us)
    for table in ("series_interval_path", "series_drift"):
        connection.execute(
            f"DELETE FROM {table} WHERE {_OF_SERIES} AND as_of >= $first", series.key | {"first": first}
        )
    gaps = read_gaps(connection, series) if comparison.diagnosed else None
    if sample is None or path is None:
        if gaps is not None and gaps.pairs:
            _without_values(engine, series, gaps)
        return 0
    changed = path.filter(pl.col("as_of") >= first)
    append(connection, "series_interval_path", changed)
    append(connection, "series_intervals", path.tail(1))
    if gaps is not None:
        _diagnose(engine, series, sample, path, gaps, before)
    if watched:
        _drift(connection, series, sample, first)
    return len(changed)


def _stored_spread(connection: duckdb.DuckDBPyConnection, series: PlannedSeries) -> tuple[float | None, ...]:
    """The diagnostics of single pairs that are stored; empty where there are none."""
    columns = ", ".join(Spread._fields)
    found = connection.execute(f"SELECT {columns} FROM series_diagnostics WHERE {_OF_SERIES}", series.key)
    return found.fetchone() or ()


def _rewrite_from(path: pl.DataFrame | None, since: datetime, block_us: int) -> datetime:
    """`as_of` of the first row to write: of the last row before the first changed block, else of that block."""
    touched = since + timedelta(microseconds=block_us)
    before = None if path is None else path.filter(pl.col("as_of") < touched)["as_of"].max()
    return before if isinstance(before, datetime) else touched


def _without_values(engine: Engine, series: PlannedSeries, gaps: Gaps) -> None:
    """Writes the diagnostics of a metric for which there are pairs but not a single value."""
    as_of = (gaps.last_block or EPOCH) + timedelta(microseconds=series.experiment.time_block_us)
    row = {"as_of": as_of, "winsorised": 0, "longer_block_needed": False}
    _insert_diagnostics(engine, series, row | missing_row(engine, series, gaps, {}))


def _insert_diagnostics(engine: Engine, series: PlannedSeries, figures: dict[str, Any]) -> None:
    insert_row(engine.connection, "series_diagnostics", series.key | figures)


def _diagnose(
    engine: Engine,
    series: PlannedSeries,
    sample: Sample,
    path: pl.DataFrame,
    gaps: Gaps,
    before: Spread,
) -> None:
    last = path.row(-1, named=True)
    ((pairs, won, winsorised),) = engine.connection.execute(
        load(__package__, "counts_of_series"), series.key
    ).fetchall()
    if sample.course is None:
        row = _arms(engine, series, sample, last)
    else:
        row = _pairs(engine, series, sample, sample.course, before) | {"share_won": won / pairs}
    row |= {
        "as_of": last["as_of"],
        "relative_change": series.terms.metric.change(row["mean_control"], row["mean_variant"]),
        "winsorised": winsorised,
        "pairs_needed": further_pairs(series.experiment, series.terms, last),
    }
    if series.terms.role == "primary":
        row |= _otherwise(series, sample)
    _insert_diagnostics(engine, series, row | missing_row(engine, series, gaps, _counted(last)))


def _counted(row: Mapping[str, Any]) -> dict[str, int]:
    """The number of pairs with a value, or of each arm's trades with a value."""
    names = ("n_control", "n_variant") if row["n_control"] is not None else ("n_pairs",)
    return {name: row[name] for name in names}


def _arms(engine: Engine, series: PlannedSeries, sample: Sample, last: dict[str, Any]) -> dict[str, Any]:
    """The diagnostics that only a comparison of all trades has: each arm's sample, and the effect of the adjustment."""
    frame = sample.frame
    plain = path_frame(series, frame, adjust=False).row(-1, named=True)
    se, plain_se = last["se"], plain["se"]
    varies = spread(ratio_cells(series, frame), control=series.arms.index("control"))
    return (
        _levels(frame)
        | control_level(engine.connection, series)
        | {
            "sd_uplift": varies and varies.sd,
            "market_correlation": varies and varies.within_market,
            "block_correlation": varies and varies.within_block,
            "autocorrelation": last["autocorrelation"],
            "longer_block_needed": last["autocorrelation"] > MAX_AUTOCORRELATION,
            **_without_largest(series, sample),
            "unadjusted_uplift": plain["mean_uplift"],
            "unadjusted_ci_lower": plain["ci_lower"],
            "unadjusted_ci_upper": plain["ci_upper"],
            "variance_taken_out": 1 - (se / plain_se) ** 2 if se and plain_se else None,
        }
    )


def _without_largest(series: PlannedSeries, sample: Sample) -> dict[str, Any]:
    """The largest market of cells with totals of both arms, its share, and the uplift without it."""
    by_size = series.terms.metric.weight is not None
    cells = ratio_cells(series, sample.frame)
    size = cells.totals[:, 1::2].sum(axis=1) if by_size else sample.frame["n"].to_numpy()
    sizes = np.bincount(cells.market, weights=size)  # of equally large ones the first name
    largest, most, whole = int(sizes.argmax()), float(sizes.max()), float(sizes.sum())
    totals = cells.totals[cells.market != largest].sum(axis=0)
    return {
        "largest_market": sample.markets[largest],
        "largest_market_share": most / whole if whole else None,
        "mean_without_largest_market": (
            totals[0] / totals[1] - totals[2] / totals[3] if totals[1] > 0 and totals[3] > 0 else None
        ),
    }


def _pairs(
    engine: Engine, series: PlannedSeries, sample: Sample, course: Course, before: Spread
) -> dict[str, Any]:
    """The diagnostics that only a comparison of pairs has."""
    found = describe(course)
    row = _levels(sample.frame) if sample.whole is not None else _levels_of(course)
    if not series.terms.metric.is_ratio:
        row |= spread_of_pairs(engine, series, course, before)._asdict()
    row |= {
        "market_correlation": _number(found.within_market),
        "block_correlation": _number(found.within_block),
        "autocorrelation": _number(found.block_autocorrelation),
        "longer_block_needed": found.longer_block_needed,
        "largest_market": sample.markets[found.largest_market],
        "largest_market_share": _number(found.largest_market_share),
        "mean_without_largest_market": _number(found.mean_without_largest),
    }
    if series.terms.metric.weight is not None:
        row |= _without_largest(series, sample)
    return row


def _otherwise(series: PlannedSeries, sample: Sample) -> dict[str, Any]:
    """The primary by the weighting that does not decide."""
    if series.continued and sample.course is not None:
        path = path_of_course(series.otherwise, sample.course)
    else:
        path = path_frame(series.otherwise, sample.frame)
    other = path.row(-1, named=True)
    found: dict[str, Any] = {"other_weighting": series.otherwise.experiment.weighting}
    return found | {f"other_{name}": other[column] for name, column in OTHER.items()}


def _levels(frame: pl.DataFrame) -> dict[str, Any]:
    """Each arm's mean from the totals in the cells."""
    totals = frame.select(pl.col("^(numerator|denominator)_.*$").sum()).row(0, named=True)
    return {
        f"mean_{arm}": totals[f"numerator_{arm}"] / totals[f"denominator_{arm}"]
        if totals[f"denominator_{arm}"]
        else None
        for arm in ("control", "variant")
    }


def _levels_of(course: Course) -> dict[str, Any]:
    """Each arm's mean from the course of a continued series."""
    means = course.values[-1] / course.by_pairs.total[-1, 0]
    return {"mean_control": _number(means[0]), "mean_variant": _number(means[1])}


def _drift(
    connection: duckdb.DuckDBPyConnection, series: PlannedSeries, sample: Sample, first: datetime
) -> None:
    """Writes the drift detector's rows of the primary and the guardrails, from `first` on."""
    since = epoch_microseconds(first) - series.experiment.time_block_us
    margin, alpha = series.terms.margin, series.experiment.drift_alpha
    if sample.whole is not None:
        cells = series_cells(series, sample.whole)
        if series.over_markets:
            cells = weighted(cells, planned_blocks=series.experiment.planned_blocks)
        paths = list(_by_windows(cells, since, margin, alpha))
    else:
        assert sample.course is not None, "a continued series has a course"
        row = int(np.searchsorted(sample.course.block, since))
        paths = [drift_of(sample.course, sample.cells, since=row, margin=margin, alpha=alpha)]
    for path in paths:
        rows = pl.DataFrame(
            {"block": path.block, "log_evidence": path.log_m, "alarm": path.alarm, "since": path.since}
        )
        append(
            connection,
            "series_drift",
            finite(rows)
            .filter(pl.col("block") >= since)
            .select(
                "log_evidence",
                "alarm",
                as_of=(pl.col("block") + series.experiment.time_block_us).cast(pl.Datetime("us")),
                since=pl.col("since").replace(-1, None).cast(pl.Datetime("us")),
                **{name: pl.lit(value) for name, value in series.key.items()},
                margin=pl.lit(margin),
                threshold=pl.lit(-math.log(alpha)),
            ),
        )


def _by_windows(cells: Cells | RatioCells, since: int, margin: float, alpha: float) -> Iterator[DriftPath]:
    """The detector on a series that is not continued.

    It is computed over stretches of blocks that begin at multiples of the window, whatever `since` is, so that a row
    that is computed again is the same to the last bit.
    """
    blocks, first_cell, _ = blocks_of(cells.block)
    offset = np.append(first_cell, len(cells.block))
    for start in range(int(np.searchsorted(blocks, since)) // WINDOW * WINDOW, len(blocks), WINDOW):
        low, high = max(start - WINDOW, 0), min(start + WINDOW, len(blocks))
        around = cells.part(offset[low], offset[high])
        yield drift_path(around, margin=margin, alpha=alpha, since=start - low)


def _match_rates(engine: Engine, experiments: Sequence[str]) -> None:
    """Updates the shares of unmatched opportunities, which may change although no cell does."""
    rates = engine.frame(load(__package__, "match_rates", inside=among(experiments)))
    stream = ArrowStream(rates)  # noqa: F841 - DuckDB scans it by its name
    engine.connection.execute(
        f"""UPDATE series_diagnostics AS d SET
            unmatched_control_share = control, unmatched_variant_share = variant, candidates_per_variant = candidates
        FROM stream
        WHERE d.experiment_id = stream.experiment_id AND comparison = '{UPLIFT.name}'
            AND (unmatched_control_share, unmatched_variant_share, candidates_per_variant)
                IS DISTINCT FROM (control, variant, candidates)"""
    )


def _replays(engine: Engine, shadow: Sequence[RegisteredExperiment]) -> None:
    """Updates `replays`: how many of the control's opportunities the variant replayed, passed on, or did not report.

    These numbers may change although no cell does.
    """
    connection = engine.connection
    blocks = pl.DataFrame(
        [(item.experiment_id, item.time_block_us) for item in shadow],
        schema={"experiment_id": pl.String, "time_block_us": pl.Int64},
        orient="row",
    )
    inside = among(blocks["experiment_id"])
    counts = engine.frame(load(__package__, "replays", inside=inside)).join(blocks, on="experiment_id")
    counts = counts.with_columns(as_of=(pl.col("block") + pl.col("time_block_us")).cast(pl.Datetime("us")))
    engine.warehouse.create_temp("counted", "SELECT * FROM replays WHERE false")
    append(connection, "counted", counts.drop("block", "time_block_us"))
    query = load(__package__, "replays_changed", inside=inside)
    changed = among(name for (name,) in connection.execute(query).fetchall())
    connection.execute(f"DELETE FROM replays WHERE {changed}")
    connection.execute(f"INSERT INTO replays SELECT * FROM counted WHERE {changed}")


def _number(value: Any) -> float | None:
    """A number for the table: NaN, which means "cannot be estimated yet", becomes null."""
    return None if math.isnan(value) else float(value)
