"""Cells → interval paths, diagnostics, sample ratio and drift: the tables that a verdict is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from et_pipeline.common.sql import ArrowStream, among, append, insert_row, load
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.contracts.series import COMPARISONS, UPLIFT
from et_pipeline.evidence.gaps import Gaps, missing_row, read_gaps
from et_pipeline.evidence.paths import Decision, finite, inference_cells, path_frame, read_cells
from et_pipeline.inference.diagnostics import diagnose
from et_pipeline.inference.drift import WINDOW, drift_path
from et_pipeline.inference.power import further_pairs
from et_pipeline.inference.sample_ratio import SplitChange, sample_ratio_path
from et_pipeline.warehouse.connection import transaction
from et_pipeline.warehouse.engine import DuckDBEngine, Engine

if TYPE_CHECKING:
    import duckdb

EPOCH = datetime(1970, 1, 1)
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
    """Brings intervals, diagnostics, drift and sample ratio up to date with the cells; one transaction.

    The path is computed in one vectorised pass and written from the block before the first touched one on
    (a metric without pairs in that block has its last row there). Which blocks are closed is told anew
    for all of it: the arms may have moved on although no cell changed.

    Args:
        connection: The warehouse, outside any transaction.
        experiments: Experiments to look at; only those with stale paths are computed.
        full: Compute every path again, whatever is stale.
        engine: Where the pairs are; without one, in the warehouse.
    """
    engine = engine or DuckDBEngine(connection)
    wanted = sorted(set(experiments))
    with transaction(connection):
        stale = dict(
            connection.execute(
                "SELECT experiment_id, min(block) FROM stale_paths "
                "WHERE experiment_id IN (SELECT unnest(?::VARCHAR[])) GROUP BY experiment_id",
                [wanted],
            ).fetchall()
        )
        touched = dict.fromkeys(wanted, EPOCH) if full else stale
        rows = 0
        for decision in read_decisions(connection, list(touched)):
            rows += _rebuild_series(engine, decision, touched[decision.experiment_id])
        connection.execute(
            "DELETE FROM stale_paths WHERE experiment_id IN (SELECT unnest(?::VARCHAR[]))", [list(touched)]
        )
        for table in ("series_interval_path", "series_intervals"):
            connection.execute(
                load(__package__ or "", "close_blocks").format(table=table, inside=among(wanted))
            )
        _match_rates(engine, wanted)
        _replays(engine, wanted)
        _sample_ratios(engine, wanted)
    return EvidenceResult(tuple(sorted(touched)), rows)


def read_decisions(connection: duckdb.DuckDBPyConnection, experiments: Sequence[str]) -> list[Decision]:
    """What the plans fix for each series, see `decisions.sql`."""
    query = load(__package__ or "", "decisions").format(uplift=UPLIFT.name)
    found = connection.execute(query, {"experiments": list(experiments)})
    return [Decision(*row) for row in found.fetchall()]


def _rebuild_series(engine: Engine, decision: Decision, since: datetime) -> int:
    """Rewrites one series' path from `since` on, its latest interval, diagnostics and drift."""
    connection = engine.connection
    comparison = COMPARISONS[decision.comparison]
    frame = read_cells(connection, decision)
    for table in ("series_intervals", "series_diagnostics"):
        connection.execute(f"DELETE FROM {table} WHERE {_OF_SERIES}", decision.key)
    path = path_frame(decision, frame) if len(frame) else None
    first = _rewrite_from(path, since, decision.time_block_us)
    for table in ("series_interval_path", "series_drift"):
        connection.execute(
            f"DELETE FROM {table} WHERE {_OF_SERIES} AND as_of >= $first", decision.key | {"first": first}
        )
    gaps = read_gaps(connection, decision) if comparison.diagnosed else None
    if path is None:
        if gaps is not None and gaps.pairs:
            _without_values(engine, decision, gaps)
        return 0
    changed = path.filter(pl.col("as_of") >= first)
    append(connection, "series_interval_path", changed)
    append(connection, "series_intervals", path.tail(1))
    if gaps is not None:
        _diagnose(engine, decision, frame, path, gaps)
    if comparison.watched:
        _drift(connection, decision, frame, first)
    return len(changed)


def _rewrite_from(path: pl.DataFrame | None, since: datetime, block_us: int) -> datetime:
    """`as_of` of the first row to write: the last one before the first touched block, or that block's."""
    touched = since + timedelta(microseconds=block_us)
    before = None if path is None else path.filter(pl.col("as_of") < touched)["as_of"].max()
    return before if isinstance(before, datetime) else touched


def _without_values(engine: Engine, decision: Decision, gaps: Gaps) -> None:
    """The diagnostics of a metric that has pairs but not one value."""
    as_of = (gaps.last_block or EPOCH) + timedelta(microseconds=decision.time_block_us)
    row = {"as_of": as_of, "winsorised": 0, "longer_block_needed": False}
    _insert_diagnostics(engine, decision, row | missing_row(engine, decision, gaps, 0))


def _insert_diagnostics(engine: Engine, decision: Decision, figures: dict[str, Any]) -> None:
    insert_row(engine.connection, "series_diagnostics", decision.key | figures)


def _diagnose(
    engine: Engine, decision: Decision, frame: pl.DataFrame, path: pl.DataFrame, gaps: Gaps
) -> None:
    found = diagnose(inference_cells(frame))
    median, deviation = _spread(engine, decision)
    last = path.row(-1, named=True)
    row = {
        "as_of": last["as_of"],
        "median_uplift": median,
        "sd_uplift": deviation,
        "share_won": float(frame["wins"].sum()) / float(frame["n"].sum()),
        "winsorised": frame["winsorised"].sum(),
        "market_correlation": _number(found.within_market),
        "block_correlation": _number(found.within_block),
        "autocorrelation": _number(found.block_autocorrelation),
        "longer_block_needed": found.longer_block_needed,
        "largest_market": _market_name(engine.connection, decision, found.largest_market),
        "largest_market_share": _number(found.largest_market_share),
        "mean_without_largest_market": _number(found.mean_without_largest),
        "pairs_needed": _pairs_needed(decision, last),
    }
    _insert_diagnostics(engine, decision, row | missing_row(engine, decision, gaps, last["n_pairs"]))


def _market_name(connection: duckdb.DuckDBPyConnection, decision: Decision, code: int) -> str:
    """The market of a code, see `cells_of_series.sql`."""
    ((name,),) = connection.execute(
        f"SELECT DISTINCT market_id FROM series_cells WHERE {_OF_SERIES} ORDER BY market_id LIMIT 1 OFFSET $code",
        decision.key | {"code": code},
    ).fetchall()
    return str(name)


def _pairs_needed(decision: Decision, last: dict[str, Any]) -> float | None:
    """Pairs still to come until a decision at the present mean and variance; None where none is in sight."""
    if not last["se"] or last["mean_uplift"] is None:
        return None
    further = further_pairs(
        last["mean_uplift"],
        last["se"],
        last["effective_clusters"],
        last["n_pairs"],
        alpha=decision.alpha,
        g=decision.g,
        null=-(decision.non_inferiority_margin or 0.0),
        equivalence_margin=decision.equivalence_margin,
        min_pairs=decision.min_samples,
    )
    return further if math.isfinite(further) else None


def _spread(engine: Engine, decision: Decision) -> tuple[float | None, float | None]:
    """Median and standard deviation of single pairs; a ratio metric has no uplift of a single pair."""
    if CATALOGUE[decision.metric].ratio_of is not None:
        return None, None
    query = load(__package__ or "", "spread")
    ((median, deviation),) = engine.rows(
        query.format(metric=decision.metric, experiment_id=decision.experiment_id)
    )
    return median, deviation


def _drift(
    connection: duckdb.DuckDBPyConnection, decision: Decision, frame: pl.DataFrame, first: datetime
) -> None:
    """The detector on the primary and the guardrails, from `first` on; it looks back one window.

    It runs over stretches of blocks that begin at multiples of the window, whatever `first` is: then each
    row comes out the same, to the last bit, when it is computed again.
    """
    if decision.role == "secondary" or decision.estimator == "ratio":
        return
    margin = decision.non_inferiority_margin or 0.0
    cells = inference_cells(frame)
    blocks, first_cell = np.unique(cells.block, return_index=True)
    offset = np.append(first_cell, len(cells.block))
    since = _microseconds(first) - decision.time_block_us
    for start in range(int(np.searchsorted(blocks, since)) // WINDOW * WINDOW, len(blocks), WINDOW):
        low, high = max(start - WINDOW, 0), min(start + WINDOW, len(blocks))
        around = cells.part(offset[low], offset[high])
        path = drift_path(around, margin=margin, alpha=decision.drift_alpha)
        rows = pl.DataFrame(
            {"block": path.block, "log_evidence": path.log_m, "alarm": path.alarm, "since": path.since}
        )
        append(
            connection,
            "series_drift",
            finite(rows)
            .filter(pl.col("block") >= blocks[start])
            .select(
                "log_evidence",
                "alarm",
                as_of=(pl.col("block") + decision.time_block_us).cast(pl.Datetime("us")),
                since=pl.col("since").replace(-1, None).cast(pl.Datetime("us")),
                **{name: pl.lit(value) for name, value in decision.key.items()},
                margin=pl.lit(margin),
                threshold=pl.lit(-math.log(decision.drift_alpha)),
            )
            .filter(pl.col("as_of") >= first),
        )


def _match_rates(engine: Engine, experiments: Sequence[str]) -> None:
    """Shares of unmatched opportunities, which may change although no cell does."""
    rates = engine.frame(load(__package__ or "", "match_rates").format(inside=among(experiments)))
    stream = ArrowStream(rates)  # noqa: F841 - DuckDB scans it by its name
    engine.connection.execute(
        f"""UPDATE series_diagnostics AS d SET
            unmatched_control_share = control, unmatched_variant_share = variant, candidates_per_variant = candidates
        FROM stream
        WHERE d.experiment_id = stream.experiment_id AND comparison = '{UPLIFT.name}'
            AND (unmatched_control_share, unmatched_variant_share, candidates_per_variant)
                IS DISTINCT FROM (control, variant, candidates)"""
    )


def _replays(engine: Engine, experiments: Sequence[str]) -> None:
    """What the variant's reports say of the control's opportunities: it changes although no cell does."""
    connection = engine.connection
    shadow = pl.DataFrame(
        connection.sql(
            "SELECT experiment_id, time_block_us FROM experiments "
            "WHERE mode = 'shadow' AND experiment_id IN (SELECT unnest(?::VARCHAR[]))",
            params=[list(experiments)],
        )
    )
    inside = among(shadow["experiment_id"])
    counts = engine.frame(load(__package__ or "", "replays").format(inside=inside)).join(
        shadow, on="experiment_id"
    )
    counts = counts.with_columns(as_of=(pl.col("block") + pl.col("time_block_us")).cast(pl.Datetime("us")))
    stream = ArrowStream(counts)  # noqa: F841 - DuckDB scans it by its name
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE counted AS "
        "SELECT experiment_id, as_of, opportunities, passed, assumed, missing FROM stream"
    )
    query = load(__package__ or "", "replays_changed").format(inside=inside)
    changed = among(name for (name,) in connection.execute(query).fetchall())
    connection.execute(f"DELETE FROM replays WHERE {changed}")
    connection.execute(f"INSERT INTO replays SELECT * FROM counted WHERE {changed}")
    connection.execute("DROP TABLE counted")


def _sample_ratios(engine: Engine, experiments: Sequence[str]) -> None:
    """The sequential sample-ratio check of limited-live experiments, anew: it is a sum over blocks."""
    connection = engine.connection
    live = connection.execute(
        "SELECT experiment_id, time_block_us FROM experiments "
        "WHERE mode = 'limited_live' AND experiment_id IN (SELECT unnest(?::VARCHAR[]))",
        [list(experiments)],
    ).fetchall()
    inside = among(experiment_id for experiment_id, _ in live)
    splits = pl.DataFrame(connection.sql(load(__package__ or "", "splits").format(inside=inside)))
    counts = engine.frame(load(__package__ or "", "opportunities").format(inside=inside))
    stored = pl.DataFrame(connection.sql(f"SELECT * FROM sample_ratio WHERE {inside} ORDER BY ALL"))
    for experiment_id, block_us in live:
        of_it = pl.col("experiment_id") == experiment_id
        path = _sample_ratio(counts.filter(of_it), splits.filter(of_it), block_us).with_columns(
            experiment_id=pl.lit(experiment_id)
        )
        path = path.select(stored.columns)
        if not path.equals(stored.filter(of_it)):
            connection.execute("DELETE FROM sample_ratio WHERE experiment_id = ?", [experiment_id])
            append(connection, "sample_ratio", path)


def _sample_ratio(counts: pl.DataFrame, splits: pl.DataFrame, block_us: int) -> pl.DataFrame:
    """The rows of one experiment, from its opportunities per block and its splits (see `splits.sql`).

    A change lies somewhere after the tick that last saw the old split, so in one of the blocks that end after
    it, and before the tick that recorded it.
    """
    blocks = counts["block"].to_numpy()
    changes = [
        SplitChange(
            int(np.searchsorted(blocks + block_us, after, side="right")),
            int(np.searchsorted(blocks, until, side="left")) - 1,
            split,
        )
        for after, until, split in splits.select("after", "until", "split").rows()[1:]
    ]
    path = sample_ratio_path(
        counts["variant"].to_numpy(), counts["control"].to_numpy(), split=splits["split"][0], changes=changes
    )
    rows = pl.DataFrame(
        {
            "as_of": (counts["block"] + block_us).cast(pl.Datetime("us")),
            "n_control": path.control,
            "n_variant": path.variant,
            "planned_share": path.split,
            "observed_share": path.share,
            "e_value": path.e_value,
            "p_value": path.p_value,
            "alarm": path.alarm,
        }
    )
    return finite(rows)


def _microseconds(moment: datetime) -> int:
    return int((moment.replace(tzinfo=UTC) - EPOCH.replace(tzinfo=UTC)) / timedelta(microseconds=1))


def _number(value: Any) -> float | None:
    """A number for the table: NaN says "cannot be estimated yet", which is null there."""
    return None if math.isnan(value) else float(value)
