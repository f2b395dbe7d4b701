"""The sample of a series of pairs, continued from a checkpoint: the table `series_checkpoints`.

A cache and nothing else. A checkpoint counts as long as no cell of its blocks changed; then the course that goes on
from it is, to the last bit, the one of all cells. Without one, all cells are read.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from et_pipeline.common.sql import insert_row, load
from et_pipeline.common.times import EPOCH
from et_pipeline.evidence.paths import (
    PlannedSeries,
    course_options,
    inference_cells,
    path_frame,
    path_of_course,
    read_cells,
)
from et_pipeline.inference.cells import Cells, Ints, merge
from et_pipeline.inference.course import (
    STRIDE,
    Checkpoint,
    Course,
    course_and_checkpoints,
    course_of,
    wanted_checkpoints,
)
from et_pipeline.inference.drift import begins_at
from et_pipeline.inference.twoway import Moments, Standing, Ways

if TYPE_CHECKING:
    import duckdb


class Sample(NamedTuple):
    """What is known of a series.

    Attributes:
        markets: Names of the markets, by their codes.
        course: Its course; None where all trades are compared.
        cells: Its newest cells where it is continued: all that the detector needs.
        whole: All its cells where it is not.
    """

    markets: Sequence[str]
    course: Course | None
    cells: Cells
    whole: pl.DataFrame | None = None

    @property
    def frame(self) -> pl.DataFrame:
        """All cells, which an estimator asks for that is not continued."""
        if self.whole is None:
            raise ValueError("the cells of a continued series are not read whole")
        return self.whole


def path_of(series: PlannedSeries, sample: Sample) -> pl.DataFrame:
    """The interval path of a series as rows of `series_interval_path`."""
    if series.continued and sample.course is not None:
        return path_of_course(series, sample.course)
    return path_frame(series, sample.frame)


def read_sample(
    connection: duckdb.DuckDBPyConnection, series: PlannedSeries, since: datetime, *, watched: bool
) -> Sample | None:
    """The sample of a series as its cells are now, and its checkpoints brought up to date.

    Args:
        connection: The warehouse, inside the caller's transaction.
        series: The series.
        since: Start of the first block of which a cell changed (UTC) since its path was written.
        watched: Whether the detector looks at it.

    Returns:
        None where there are no cells.
    """
    if not series.continued:
        return _whole(connection, series)
    kept = _newest(connection, series, since)
    begin, known, unknown = EPOCH, [], EPOCH
    if kept is not None:
        blocks, known = kept["pairs.block"], kept["markets"].tolist()
        row = len(blocks) - STRIDE
        if watched:
            row = min(row, begins_at(_rows_before(connection, series, since)))
        begin += timedelta(microseconds=int(blocks[row]))
        unknown += timedelta(microseconds=int(blocks[-1]) + 1)
    found = connection.execute(
        load(__package__, "markets_of_series"), series.key | {"since": unknown}
    ).fetchall()
    markets = sorted({*known, *(name for (name,) in found)})
    if not markets:
        _drop(connection, series, since, [])
        return None
    parameters = series.key | {"since": begin, "markets": markets}
    relation = connection.sql(load(__package__, "newest_cells"), params=parameters)
    frame = pl.DataFrame(relation)
    order = _in_order(frame, series.experiment.time_block_us, len(markets))
    cells = Cells._make(column[order] for column in inference_cells(frame))
    before = None if kept is None else _unpacked(kept, markets)
    # The detector may look back beyond what the course needs.
    from_checkpoint = 0 if before is None else int(np.searchsorted(cells.block, before.course.block[-STRIDE]))
    course, new = course_and_checkpoints(
        cells.part(from_checkpoint, len(cells.block)),
        values=frame.select("numerator_control", "numerator_variant").to_numpy()[order[from_checkpoint:]],
        before=before,
        **course_options(series),
    )
    _drop(connection, series, since, wanted_checkpoints(len(course.block)))
    for one in new:
        row_of = {
            "blocks": len(one.course.block),
            "last_block": EPOCH + timedelta(microseconds=int(one.course.block[-1])),
            "sums": _packed(one, markets),
        }
        insert_row(connection, "series_checkpoints", series.key | row_of)
    return Sample(markets, course, cells)


def _in_order(frame: pl.DataFrame, time_block: int, markets: int) -> Ints:
    """The order of cells by block, then market."""
    block, market = frame["block"].to_numpy(), frame["market"].to_numpy()
    # They are mostly in order as they are stored, which only this way of sorting makes use of.
    return np.argsort((block - block.min()) // time_block * markets + market, kind="stable")


def _whole(connection: duckdb.DuckDBPyConnection, series: PlannedSeries) -> Sample | None:
    """The sample of a series that is not continued."""
    frame = read_cells(connection, series)
    if not len(frame):
        return None
    found = connection.execute(load(__package__, "markets_of_series"), series.key | {"since": EPOCH})
    markets = sorted(name for (name,) in found.fetchall())
    if not series.experiment.paired:
        return Sample(markets, None, merge(), frame)
    cells = inference_cells(frame)
    return Sample(markets, course_of(cells), cells, frame)


def _newest(
    connection: duckdb.DuckDBPyConnection, series: PlannedSeries, since: datetime
) -> dict[str, Any] | None:
    """The sums of the newest checkpoint that counts."""
    found = connection.execute(
        load(__package__, "newest_checkpoint"), series.key | {"since": since}
    ).fetchall()
    if not found:
        return None
    with np.load(io.BytesIO(found[0][0])) as sums:
        return dict(sums)


def _rows_before(connection: duckdb.DuckDBPyConnection, series: PlannedSeries, since: datetime) -> int:
    """The number of the newest block before the first changed one, whose row of the detector is written anew too."""
    ((rows,),) = connection.execute(
        load(__package__, "rows_before"),
        series.key | {"as_of": since},
    ).fetchall()
    return max(int(rows) - 1, 0)


def _drop(
    connection: duckdb.DuckDBPyConnection, series: PlannedSeries, since: datetime, wanted: Sequence[int]
) -> None:
    connection.execute(
        load(__package__, "drop_checkpoints"), series.key | {"since": since, "wanted": list(wanted)}
    )


def _packed(checkpoint: Checkpoint, markets: Sequence[str]) -> bytes:
    """A checkpoint as bytes; markets by their names, for codes change with every new market."""
    course = checkpoint.course
    sums: dict[str, Any] = {
        "centre": course.centre,
        "squares": course.squares,
        "values": course.values,
        "markets": np.array(markets, dtype=np.str_)[course.newest.market],
        "totals": course.newest.totals,
        "weighted": checkpoint.weighted,
        "earlier": checkpoint.earlier,
    }
    if course.means is not None:
        sums["means"] = course.means
    for name, moments in (("pairs", course.by_pairs), ("weights", course.by_markets)):
        if moments is not None:
            flat = moments._asdict() | moments.squares._asdict()
            # The way "block" and the blocks themselves have one name.
            flat |= {"block": moments.block, "by_block": moments.squares.block}
            del flat["squares"]
            sums |= {f"{name}.{part}": array for part, array in flat.items()}
    written = io.BytesIO()
    np.savez(written, **sums)
    return written.getvalue()


def _unpacked(sums: dict[str, Any], markets: Sequence[str]) -> Checkpoint:
    """The inverse of `_packed`, with the codes of now."""

    def moments(name: str) -> Moments:
        part = {key.partition(".")[2]: array for key, array in sums.items() if key.partition(".")[0] == name}
        ways = Ways(part.pop("market"), part.pop("by_block"), part.pop("cell"))
        return Moments(**part, squares=ways)

    code = {name: number for number, name in enumerate(markets)}
    by_pairs = moments("pairs")
    codes = np.array([code[name] for name in sums["markets"].tolist()], dtype=np.int64)
    return Checkpoint(
        Course(
            float(sums["centre"]),
            by_pairs,
            sums["squares"],
            sums["values"],
            moments("weights") if "weights.block" in sums else None,
            sums.get("means"),
            Standing(by_pairs, codes, sums["totals"]),
        ),
        sums["weighted"],
        sums["earlier"],
    )
